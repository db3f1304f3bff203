"""What each trial of a study is asked: the same task, whoever builds it, from configuration, images
and split alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from search_spaces.baselines import baselines
from search_spaces.sizes import Sizes
from study.config import StudyConfig, derive_seed
from study.data.splits import Split
from study.data.store import Store
from study.models.autoencoder import count_training_operations
from study.record.events import Hyperparameters, TrialBegun
from study.record.identities import Phase, Role, RunId, TrialId
from study.trial.task import TrialTask
from study.tune.budget import within_budget
from study.tune.trainable import Job


@dataclass(frozen=True)
class Configuration:
    """One point of a search space in a study.

    Parameters
    ----------
    trial : TrialId
        What tells it from others.
    label : str
        The name that people read.
    role : Role
        Where it comes from.
    hyperparameters : dict
        Its values.
    """

    trial: TrialId
    label: str
    role: Role
    hyperparameters: Hyperparameters

    @staticmethod
    def of(begun: TrialBegun) -> Configuration:
        """Return the configuration of a run that has begun."""
        return Configuration(begun.trial, begun.label, begun.role, begun.hyperparameters)


def sizes_of(config: StudyConfig) -> Sizes:
    """Return the sizes that a study offers its search space."""
    return Sizes(config.sizes.whole, config.sizes.split, config.sizes.patches, config.sizes.crops)


def baseline_configurations(config: StudyConfig) -> list[Configuration]:
    """Return the paper's configurations, numbered from 0."""
    return [
        Configuration(TrialId(number), label, Role.BASELINE, hyperparameters)
        for number, (label, hyperparameters) in enumerate(baselines(sizes_of(config)).items())
    ]


def searched_configuration(number: int, hyperparameters: Hyperparameters) -> Configuration:
    """Return a configuration that a search proposed."""
    return Configuration(TrialId(number), f"trial {number:04d}", Role.SEARCHED, hyperparameters)


def make_task(config: StudyConfig, store: Store, **own: Any) -> TrialTask:
    """Return a task: what all trials of a study share, and its own values.

    Parameters
    ----------
    config, store : StudyConfig, Store
        The study's.
    **own
        The fields of `TrialTask` that differ from trial to trial.
    """
    shared: dict[str, Any] = {
        "store": str(store.folder),
        "resize": config.dataset.resize,
        "normalisation": config.dataset.normalisation,
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
    return TrialTask(**shared | own)


def node_values(config: StudyConfig) -> dict[str, Any]:
    """Return what a task must know of the node that it will run on."""
    gpus = config.resources.gpus_per_trial
    return {
        "gpu_share": gpus if gpus != "auto" and 0 < gpus < 1 else None,
        "node_folder": config.resources.node_folder,
    }


def search_job(
    config: StudyConfig, store: Store, split: Split, configuration: Configuration
) -> Job:
    """Return a trial of the search: trained on the training side, scored on validation."""
    trial, hyperparameters = configuration.trial, configuration.hyperparameters
    task = make_task(
        config,
        store,
        hyperparameters=hyperparameters,
        train_fields=split.train,
        eval_fields=split.validation,
        eval_split="validation",
        rung_images=config.search.rung_images,
        seed=derive_seed(config.seed, "trial", trial.value),
        folder=str(config.folder / "trials" / trial.file_name),
    )
    if configuration.role == Role.SEARCHED:
        task = within_budget(config, task, store)
    run = RunId(Phase.SEARCH, trial, 0)
    return Job(run, configuration.label, configuration.role, task)


def largest_baseline(config: StudyConfig, store: Store, split: Split) -> TrialTask:
    """Return the task of the baseline that computes most, to be measured."""
    largest = max(
        baseline_configurations(config),
        key=lambda one: count_training_operations(one.hyperparameters, patches=1),
    )
    return search_job(config, store, split, largest).task
