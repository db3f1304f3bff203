"""What a trial may cost, so that a search is not spent on a few large networks."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np

from study.config import StudyConfig
from study.data.batches import patches_of, training_images
from study.data.store import Store
from study.models.autoencoder import count_operations, count_training_operations, patch_size_of
from study.record.identities import Phase, Role, TrialId
from study.trial.steps import batch_size_of, steps_an_epoch, within_steps
from study.trial.task import TrialTask
from study.tune.trainable import Job

ORDERS = 200  # of trials, over which the work of ASHA is averaged


def within_budget(config: StudyConfig, task: TrialTask, store: Store) -> TrialTask:
    """Return the task of a searched configuration with as many steps as `search.max_tflop` pays
    for: in the search and in its confirmation.

    It has at least the epochs of the first rung, which are shorter then: every trial is judged
    there.

    Parameters
    ----------
    config : StudyConfig
        The study's.
    task : TrialTask
        The full budget, in epochs.
    store : Store
        The prepared images.
    """
    if config.search.max_tflop is None:
        return task
    step = count_training_operations(task.hyperparameters, patches=batch_size_of(task))
    steps, an_epoch = int(config.search.max_tflop * 1e12 // step), steps_an_epoch(task, store)
    if steps >= an_epoch * task.epochs:
        return task
    first_rung = min(config.search.grace_epochs, task.epochs)
    return within_steps(task, steps, steps_per_epoch=an_epoch, epochs=first_rung)


def epoch_operations(config: StudyConfig, hyperparameters: dict[str, Any], *, images: int) -> int:
    """Count the floating-point operations of one epoch of training on `images` defocused images."""
    images = min(images, config.training.images_per_epoch or images)
    side = int(hyperparameters["image_size"]) // patch_size_of(hyperparameters)
    patches = images * patches_of(side, config.training.patches_per_image)
    return count_training_operations(hyperparameters, patches=patches)


@lru_cache(maxsize=64)
def rung_shares(trials: int, reduction_factor: int, rungs: int) -> tuple[float, ...]:
    """Return the share of a search's trials that go on from each rung of ASHA, in the mean over
    random orders of good and poor trials.

    It is more than one in `reduction_factor` where trials are few: the first that reach a rung have
    hardly anyone to be compared with.

    Parameters
    ----------
    trials : int
        How many are searched.
    reduction_factor : int
        Of those that reach a rung, one in so many is to go on.
    rungs : int
        How many rungs there are.
    """
    rng, counts = np.random.default_rng(0), np.zeros(rungs)
    for _ in range(ORDERS):
        order = rng.permutation(trials)  # a trial's quality is the same at every rung
        for rung in range(rungs):
            better = np.array(
                [(order[:place] < one).mean() if place else 1.0 for place, one in enumerate(order)]
            )
            order = order[better >= 1 - 1 / reduction_factor]
            counts[rung] += len(order) / trials
    return tuple(counts / ORDERS)


def expected_course(
    config: StudyConfig, *, budget: int | None = None, reached: int = 0
) -> tuple[float, float]:
    """Return how many epochs a searched trial runs in the mean, and the share of such trials that
    run to their end.

    Parameters
    ----------
    config : StudyConfig
        The study's.
    budget : int, optional
        Epochs that it may run; `training.epochs` if not given.
    reached : int
        Epochs that it has run already.
    """
    budget = config.training.epochs if budget is None else budget
    rungs = _rungs(config)
    shares = dict(
        zip(
            rungs,
            rung_shares(max(1, config.search.trials), config.search.reduction_factor, len(rungs)),
            strict=True,
        )
    )
    passed = next((shares[rung] for rung in reversed(rungs) if rung <= reached), 1.0)
    epochs, begun, going_on = float(reached), reached, 1.0
    for rung in [rung for rung in rungs if reached < rung < budget]:
        epochs += going_on * (rung - begun)
        begun, going_on = rung, shares[rung] / passed
    return epochs + going_on * (budget - begun), going_on


def _rungs(config: StudyConfig) -> list[int]:
    if config.search.scheduler != "asha":
        return []
    rungs, rung = [], min(config.search.grace_epochs, config.training.epochs)
    while rung < config.training.epochs:
        rungs.append(rung)
        rung *= config.search.reduction_factor
    return rungs


class Work:
    """Floating-point operations of jobs, done and to be done: what progress and plans are estimated
    in.

    Parameters
    ----------
    config : StudyConfig
        The study's.
    store : Store
        The prepared images.
    """

    def __init__(self, config: StudyConfig, store: Store) -> None:
        self._config, self._store = config, store
        self._known: dict[tuple[Phase, TrialId], tuple[int, int]] = {}

    def __call__(self, job: Job, epoch: int) -> tuple[float, float]:
        """Return what a job has done after so many epochs, and what it is expected to do still; its
        score is work too.
        """
        training, scoring = self.of(job)
        budget = job.task.epochs
        expected, ends = float(budget), 1.0
        if job.run.phase == Phase.SEARCH and job.role == Role.SEARCHED:
            expected, ends = expected_course(self._config, budget=budget, reached=epoch)
        scored = scoring if epoch >= budget else 0.0
        to_score = scoring * ends if epoch < budget else 0.0
        return training * epoch + scored, training * (expected - epoch) + to_score

    def of(self, job: Job) -> tuple[int, int]:
        """Return the operations of one epoch of a job's training, and of its score."""
        key = job.run.phase, job.run.trial
        if key not in self._known:
            task = job.task
            images = len(training_images(self._store, task.train_fields, task.held_out))
            scored = len(task.eval_fields) * len(self._store.levels)
            epoch = epoch_operations(self._config, task.hyperparameters, images=images)
            if task.steps is not None:
                step = count_training_operations(task.hyperparameters, patches=batch_size_of(task))
                epoch = step * task.steps // task.epochs
            self._known[key] = (
                epoch,
                scored * count_operations(task.hyperparameters),
            )
        return self._known[key]
