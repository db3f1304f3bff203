"""One trial as Ray sees it: what it is called, the code that runs it, and the actor around both."""

from __future__ import annotations

import contextlib
import functools
import os
from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import Any

import ray
from pydantic import TypeAdapter
from ray import tune

from study.errors import TrialFailed
from study.record.events import TrialBegun
from study.record.identities import Role, RunId
from study.trial.task import EpochReport, PostHocTask, TrialTask

OBJECTIVE = "objective"
# Tune hands its searcher a flattened result, in which a score cannot be looked for
FINISHED = "finished"
WORST = -1e9  # what the scheduler is told of a trial that failed: below any objective


@dataclass(frozen=True)
class Job:
    """A task, and its place in the study.

    Parameters
    ----------
    run : RunId
        Which training of which configuration.
    label : str
        The name that people read.
    role : Role
        Where the configuration comes from.
    task : TrialTask
        What is trained and scored.
    """

    run: RunId
    label: str
    role: Role
    task: TrialTask

    @property
    def key(self) -> dict[str, Any]:
        """What tells its events in the ledger from others."""
        return {
            "phase": self.run.phase,
            "trial": self.run.trial,
            "replicate": self.run.replicate,
        }

    @property
    def begun(self) -> TrialBegun:
        """The event that says what is trained."""
        return TrialBegun(
            **self.key,
            label=self.label,
            role=self.role,
            hyperparameters=self.task.hyperparameters,
            seed=self.task.seed,
            threads=self.task.threads,
            eval_split=self.task.eval_split,
            epochs=self.task.epochs,
            steps=self.task.steps,
            folder=self.task.folder,
        )

    def to_config(self) -> dict[str, Any]:
        """Return the job as the configuration of a Tune trial: plain values, for Tune keeps others
        apart from it.
        """
        return {"job": _adapter().dump_python(self, mode="json")}

    @staticmethod
    def of(config: dict[str, Any]) -> Job:
        """Return the job of a Tune trial's configuration."""
        job: Job = _adapter().validate_python(config["job"])
        return job


@functools.cache
def _adapter() -> TypeAdapter[Job]:
    return TypeAdapter(Job)


@dataclass(frozen=True)
class TrialCode:
    """What runs in a worker: Keras's training, unless another is given.

    Parameters
    ----------
    set_up_process : callable
        Keeps the process to its task's threads and memory, before anything else; returns what the
        device is, see `study.record.events.TrialPlaced`.
    run_trial : callable
        Trains and scores, see `study.trial.training.run_trial`.
    answer_question : callable
        Evaluates a trained network after its training, see `study.trial.post_hoc_scores`.
    time_steps : callable
        Measures a training step, see `study.trial.timing.time_steps`.
    """

    set_up_process: Callable[[TrialTask], dict[str, Any]]
    run_trial: Callable[[TrialTask], Generator[EpochReport]]
    answer_question: Callable[[PostHocTask], dict[str, Any]]
    time_steps: Callable[[TrialTask], dict[str, Any]]


class TrialActor(tune.Trainable):
    """Runs one job after another in the same process: importing a framework takes longer than a
    small trial.
    """

    _code: TrialCode
    _epoch: int
    _place: dict[str, Any]
    _reports: Generator[EpochReport]

    def setup(self, config: dict[str, Any], code: TrialCode) -> None:
        """Take the first job up."""
        self._code = code
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
        finished = report.score is not None
        return {
            "epoch": report.epoch,
            "metrics": report.metrics,
            "cost": report.cost,
            "score": report.score,
            OBJECTIVE: _objective(report),
            FINISHED: finished,
            "done": finished,
            "place": self._place,
        }

    def cleanup(self) -> None:
        """Leave a job that was stopped; if its last weights cannot be kept, the next job does not
        suffer from it.
        """
        with contextlib.suppress(OSError):
            self._reports.close()

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        """Write nothing: a trial keeps its own checkpoint in the study's folder."""

    def load_checkpoint(self, checkpoint: Any) -> None:
        """Read nothing: `run_trial` finds the trial's checkpoint by itself."""

    def _start(self, config: dict[str, Any]) -> None:
        self._epoch = 0
        task = Job.of(config).task
        self._place = {
            "node": ray.get_runtime_context().get_node_id(),
            "gpus": ray.get_gpu_ids(),
            "gpu_share": task.gpu_share,
            "pid": os.getpid(),
            **self._code.set_up_process(task),
        }
        self._reports = self._code.run_trial(task)


def _objective(report: EpochReport) -> float:
    if report.score is not None:
        return report.score.summary["objective"]
    return report.metrics.get("objective", 0.0)


# Keras's functions are imported where they run, for the driver needs no framework.


def _set_up_keras(task: TrialTask) -> dict[str, Any]:
    from study.trial.device import describe_device, limit_gpu_memory
    from study.trial.threads import limit_threads

    limit_threads(task.threads)
    return {"gpu_limit_mib": limit_gpu_memory(task.gpu_share), **describe_device()}


def _run_keras(task: TrialTask) -> Generator[EpochReport]:
    from study.trial.training import run_trial

    return run_trial(task)


def _ask_keras(task: PostHocTask) -> dict[str, Any]:
    from study.trial.post_hoc_scores import answer_question

    return answer_question(task)


def _time_keras(task: TrialTask) -> dict[str, Any]:
    from study.trial.timing import time_steps

    return time_steps(task)


KERAS = TrialCode(_set_up_keras, _run_keras, _ask_keras, _time_keras)
