"""One trial as Ray sees it: what it is called, and the actor that runs it."""

from __future__ import annotations

import os
from collections.abc import Generator
from dataclasses import asdict, dataclass
from typing import Any

import ray
from ray import tune

from study.errors import TrialFailed
from study.trial.task import EpochReport, TrialTask

OBJECTIVE = "objective"
FINISHED = (  # Tune hands its searcher a flattened result, in which a score cannot be looked for
    "finished"
)
WORST = -1e9  # what the scheduler is told of a trial that failed: below any objective


@dataclass(frozen=True)
class Job:
    """A task, and its place in the study.

    Parameters
    ----------
    phase : search or confirm.
    trial : number of the configuration in the study, from 0; the baselines come first.
    replicate : which of several runs of the same configuration, from 0.
    label : the name that people read.
    baseline : whether it is one of the paper's configurations.
    task : what is trained and scored.
    """

    phase: str
    trial: int
    replicate: int
    label: str
    baseline: bool
    task: dict[str, Any]

    @property
    def key(self) -> dict[str, Any]:
        """What tells its events in the ledger from others."""
        return {"phase": self.phase, "trial": self.trial, "replicate": self.replicate}

    def to_config(self) -> dict[str, Any]:
        """Return the job as the configuration of a Tune trial."""
        return {"job": asdict(self)}

    @staticmethod
    def of(config: dict[str, Any]) -> Job:
        """Return the job of a Tune trial's configuration."""
        return Job(**config["job"])


class TrialActor(tune.Trainable):
    """Runs one job after another in the same process: importing a framework takes longer than a
    small trial.
    """

    _epoch: int
    _place: dict[str, Any]
    _reports: Generator[EpochReport]

    def setup(self, config: dict[str, Any]) -> None:
        """Take the first job up."""
        self._start(config)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Take the next job up in this process."""
        self.cleanup()
        self._start(new_config)
        return True

    def step(self) -> dict[str, Any]:
        """Train one epoch; a job that fails on purpose ends with the reason."""
        try:
            report = next(self._reports)
        except TrialFailed as error:
            return {"done": True, "failure": str(error), OBJECTIVE: WORST, "epoch": self._epoch}
        self._epoch = report.epoch
        return {
            "epoch": report.epoch,
            "metrics": report.metrics,
            "cost": report.cost,
            "score": report.score.to_dict() if report.score else None,
            OBJECTIVE: _objective(report),
            FINISHED: report.score is not None,
            "done": report.score is not None,
            "place": self._place,
        }

    def cleanup(self) -> None:
        """Leave a job that was stopped."""
        self._reports.close()

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        """Write nothing: a trial keeps its own checkpoint in the study's folder."""

    def load_checkpoint(self, checkpoint: Any) -> None:
        """Read nothing: `run_trial` finds the trial's checkpoint by itself."""

    def _start(self, config: dict[str, Any]) -> None:
        # here, not above: the driver needs no TensorFlow
        from study.trial.device import describe_device, limit_gpu_memory
        from study.trial.threads import limit_threads
        from study.trial.training import run_trial

        self._epoch = 0
        task = TrialTask(**Job.of(config).task)
        limit_threads(task.threads)
        self._place = {
            "node": ray.get_runtime_context().get_node_id(),
            "gpus": ray.get_gpu_ids(),
            "gpu_share": task.gpu_share,
            "gpu_limit_mib": limit_gpu_memory(task.gpu_share),
            "pid": os.getpid(),
            **describe_device(),
        }
        self._reports = run_trial(task)


def _objective(report: EpochReport) -> float:
    if report.score is not None:
        return float(report.score.summary["objective"])
    return float(report.metrics.get("objective", 0.0))
