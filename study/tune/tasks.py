"""What each trial of a study is asked: the same task, whoever builds it, from configuration, images
and split alone.
"""

from __future__ import annotations

from typing import Any

from search_spaces.baselines import baselines
from search_spaces.sizes import Sizes
from study.config import StudyConfig, derive_seed
from study.data.batches import training_images
from study.data.splits import Split
from study.data.store import Store
from study.models.autoencoder import count_training_operations
from study.trial.task import TrialTask
from study.tune.budget import affordable_epochs
from study.tune.trainable import Job


def sizes_of(config: StudyConfig) -> Sizes:
    """Return the sizes that a study offers its search space."""
    return Sizes(config.sizes.whole, config.sizes.split, config.sizes.patches, config.sizes.crops)


def task_template(config: StudyConfig, store: Store) -> dict[str, Any]:
    """Return what the tasks of all trials share."""
    return {
        "store": str(store.folder),
        "resize": config.dataset.resize,
        "evaluation_size": config.evaluation.resolution,
        "epochs": config.training.epochs,
        "batch_size": config.training.batch_size,
        "patches_per_image": config.training.patches_per_image,
        "images_per_epoch": config.training.images_per_epoch,
        "precision": config.training.precision,
        "inference": config.evaluation.inference,
        "rung_seed": derive_seed(config.seed, "rung"),
        "objective": config.search.objectives[0],
        "level_weights": config.search.level_weights,
        "threads": config.resources.cpus_per_trial,
        **node_values(config),
    }


def node_values(config: StudyConfig) -> dict[str, Any]:
    """Return what a task must know of the node that it will run on."""
    gpus = config.resources.gpus_per_trial
    return {
        "gpu_share": gpus if gpus != "auto" and 0 < gpus < 1 else None,
        "node_folder": config.resources.node_folder,
    }


def search_job(
    config: StudyConfig,
    store: Store,
    split: Split,
    number: int,
    baseline: str | None,
    hyperparameters: dict[str, Any],
) -> Job:
    """Return a trial of the search: trained on the training side, scored on validation.

    Parameters
    ----------
    config, store, split : StudyConfig, Store, Split
        The study's.
    number : int
        Of the trial.
    baseline : str or None
        Its label if it is one.
    hyperparameters : dict
        Its hyperparameters.
    """
    task = task_template(config, store) | {
        "hyperparameters": hyperparameters,
        "train_fields": split.train,
        "eval_fields": split.validation,
        "eval_split": "validation",
        "rung_images": config.search.rung_images,
        "seed": derive_seed(config.seed, "trial", number),
        "folder": str(config.folder / "trials" / f"{number:04d}"),
    }
    if baseline is None:
        task["epochs"] = affordable_epochs(
            config, hyperparameters, images=len(training_images(store, split.train))
        )
    return Job("search", number, 0, baseline or f"trial {number:04d}", baseline is not None, task)


def largest_baseline(config: StudyConfig, store: Store, split: Split) -> TrialTask:
    """Return the task of the baseline that computes most, to be measured."""
    label, hyperparameters = max(
        baselines(sizes_of(config)).items(),
        key=lambda item: count_training_operations(item[1], patches=1),
    )
    return TrialTask(**search_job(config, store, split, 0, label, hyperparameters).task)
