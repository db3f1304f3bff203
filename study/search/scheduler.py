"""Who is stopped early: never a baseline."""

from __future__ import annotations

from typing import Any

from ray.tune.experiment import Trial
from ray.tune.schedulers import AsyncHyperBandScheduler, FIFOScheduler, TrialScheduler

from study.config import StudyConfig
from study.search.jobs import OBJECTIVE, Job


class BaselinesExempt(AsyncHyperBandScheduler):
    """ASHA on epochs, in which a baseline always runs to its end; its scores still stand in the rungs."""

    def on_trial_result(self, tune_controller: Any, trial: Trial, result: dict[str, Any]) -> str:
        """Decide whether a trial goes on."""
        decision = super().on_trial_result(tune_controller, trial, result)
        return str(TrialScheduler.CONTINUE) if Job.of(trial.config).baseline else decision


def make_scheduler(config: StudyConfig) -> TrialScheduler:
    """Return the scheduler that a configuration names."""
    if config.search.scheduler == "none":
        return FIFOScheduler()
    return BaselinesExempt(
        time_attr="epoch",
        metric=OBJECTIVE,
        mode="max",
        max_t=config.training.epochs,
        grace_period=min(config.search.grace_epochs, config.training.epochs),
        reduction_factor=config.search.reduction_factor,
        stop_last_trials=False,
    )
