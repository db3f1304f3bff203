"""How many steps a task trains for: the one place where images and batches become steps."""

from __future__ import annotations

from study.data.batches import patches_of, steps_per_epoch, training_images
from study.data.store import Store
from study.models.autoencoder import patch_size_of
from study.trial.task import TrialTask


def batch_size_of(task: TrialTask) -> int:
    """Return the patches in one step: the configuration's, or the study's."""
    return int(task.hyperparameters.get("batch_size", task.batch_size))


def steps_a_pass(task: TrialTask, store: Store) -> int:
    """Return the steps in which a task sees every image that it trains on once."""
    return _steps(task, _images(task, store))


def steps_an_epoch(task: TrialTask, store: Store) -> int:
    """Return the steps of one epoch, for which `images_per_epoch` may be drawn from all images.

    Parameters
    ----------
    task : TrialTask
        What is trained.
    store : Store
        Its images, or others at the same levels.
    """
    images = _images(task, store)
    return _steps(task, min(task.images_per_epoch or images, images))


def _images(task: TrialTask, store: Store) -> int:
    return len(training_images(store, task.train_fields, task.held_out))


def _steps(task: TrialTask, images: int) -> int:
    side = task.resolution.size // patch_size_of(task.hyperparameters)
    patches = patches_of(side, task.patches_per_image)
    return steps_per_epoch(images, patches=patches, batch_size=batch_size_of(task))
