"""Who is stopped early: never a baseline."""

from __future__ import annotations

from collections.abc import Iterable
from types import SimpleNamespace
from typing import Any

from ray.tune.experiment import Trial
from ray.tune.schedulers import (
    AsyncHyperBandScheduler,
    FIFOScheduler,
    MedianStoppingRule,
    TrialScheduler,
)

from study.config import StudyConfig
from study.record.history import Run
from study.record.identities import Role, TrialId
from study.tune.trainable import OBJECTIVE, Job

NEVER_PAUSED = 10**9  # epochs: a trial is stopped or goes on


class Asha(AsyncHyperBandScheduler):
    """ASHA on epochs among the searched trials, known by their numbers: one that was interrupted
    stands in its rungs once.

    Baselines run to their ends and do not stand in the rungs: the best searched trial of each rung
    goes on, however good they are, so that every search has a winner to compare with them.
    """

    def on_trial_result(self, tune_controller: Any, trial: Trial, result: dict[str, Any]) -> str:
        """Decide whether a trial goes on."""
        return (
            str(TrialScheduler.CONTINUE)
            if Job.of(trial.config).role == Role.BASELINE
            else self._judge(trial, result)
        )

    def on_trial_complete(self, tune_controller: Any, trial: Trial, result: dict[str, Any]) -> None:
        """Enter the last score of a searched trial into its rung."""
        if Job.of(trial.config).role != Role.BASELINE:
            self._judge(trial, result)

    def _judge(self, trial: Trial, result: dict[str, Any]) -> str:
        named = SimpleNamespace(trial_id=_name(Job.of(trial.config).run.trial))
        return str(self._brackets[0].on_result(named, result["epoch"], result[OBJECTIVE]))


class Median(MedianStoppingRule):
    """The median stopping rule among the searched trials; baselines run to their ends. After a
    resume it begins anew.
    """

    def on_trial_result(self, tune_controller: Any, trial: Trial, result: dict[str, Any]) -> str:
        """Decide whether a trial goes on."""
        if Job.of(trial.config).role == Role.BASELINE:
            return str(TrialScheduler.CONTINUE)
        return str(super().on_trial_result(tune_controller, trial, result))

    def on_trial_complete(self, tune_controller: Any, trial: Trial, result: dict[str, Any]) -> None:
        """Enter the last score of a searched trial."""
        if Job.of(trial.config).role != Role.BASELINE:
            super().on_trial_complete(tune_controller, trial, result)


def make_scheduler(config: StudyConfig, past: Iterable[Run]) -> TrialScheduler:
    """Return the scheduler that a configuration names, with what earlier trials of the search have
    left in its rungs.
    """
    if config.search.scheduler == "none":
        return FIFOScheduler()
    common = {"time_attr": "epoch", "metric": OBJECTIVE, "mode": "max"}
    if config.search.scheduler == "median":
        return Median(
            grace_period=config.search.grace_epochs,
            min_samples_required=3,
            min_time_slice=NEVER_PAUSED,
            **common,
        )
    scheduler = Asha(
        **common,
        max_t=config.training.epochs,
        grace_period=min(config.search.grace_epochs, config.training.epochs),
        reduction_factor=config.search.reduction_factor,
        stop_last_trials=False,
    )
    for run in past:
        if run.role != Role.BASELINE:
            for epoch, value in run.curve.items():
                named = SimpleNamespace(trial_id=_name(run.trial))
                scheduler._brackets[0].on_result(named, epoch, value)
    return scheduler


def _name(trial: TrialId) -> str:
    return f"trial {trial}"
