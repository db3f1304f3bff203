"""What a trial may cost, so that a search is not spent on a few large networks."""

from __future__ import annotations

from typing import Any

from study.config import StudyConfig
from study.data.batches import patches_of
from study.models.autoencoder import count_training_operations, patch_size_of


def affordable_epochs(config: StudyConfig, hyperparameters: dict[str, Any], *, images: int) -> int:
    """Return for how many epochs a searched trial may train: `training.epochs`, or what `search.max_tflop` pays for, at least one.

    Parameters
    ----------
    config : StudyConfig
        The study's.
    hyperparameters : dict
        A point of a search space.
    images : int
        Defocused images on the training side.
    """
    if config.search.max_tflop is None:
        return config.training.epochs
    images = min(images, config.training.images_per_epoch or images)
    side = int(hyperparameters["image_size"]) // patch_size_of(hyperparameters)
    patches = images * patches_of(side, config.training.patches_per_image)
    epoch = count_training_operations(hyperparameters, patches=patches)
    return int(min(config.training.epochs, max(1, config.search.max_tflop * 1e12 // epoch)))


def expected_epochs(config: StudyConfig) -> float:
    """Return how many epochs a searched trial runs in the mean: under ASHA one in `search.reduction_factor` goes on at each rung."""
    search, epochs = config.search, config.training.epochs
    if search.scheduler != "asha":
        return float(epochs)
    expected, going_on, rung = 0.0, 1.0, min(search.grace_epochs, epochs)
    before = 0
    while rung < epochs:
        expected += going_on * (rung - before)
        before, rung, going_on = rung, rung * search.reduction_factor, going_on / search.reduction_factor
    return expected + going_on * (epochs - before)
