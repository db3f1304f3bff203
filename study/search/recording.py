"""What the driver does with every report of a trial: into the ledger, and onto the screen."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from ray.tune import Callback
from ray.tune.experiment import Trial

from study.record.ledger import Ledger
from study.search.jobs import OBJECTIVE, Job

SAY_EVERY_S = 15.0
Say = Callable[[str], None]


class Progress:
    """Lines for a person: trials done, the best so far, and the time left.

    Parameters
    ----------
    say : callable
        Prints a line.
    phase : str
        What is being done.
    jobs : int
        How many trials there are.
    epochs : float
        That all together are expected to run.
    expect : callable
        Job -> epochs that it is expected to run.
    """

    def __init__(self, say: Say, *, phase: str, jobs: int, epochs: float, expect: Callable[[Job], float]) -> None:
        self._say, self._phase, self._jobs, self._left, self._expect = say, phase, jobs, epochs, expect
        self._started = self._said = time.monotonic()
        self._epochs_done = self._done = 0
        self._best: tuple[float, str] | None = None

    def epoch_done(self) -> None:
        """Count an epoch, and say how far the phase is if nothing was said for a while."""
        self._epochs_done += 1
        self._left -= 1
        if time.monotonic() - self._said > SAY_EVERY_S:
            self._report(f"{self._epochs_done} epochs trained")

    def trial_done(self, job: Job, epoch: int, outcome: str, score: float | None) -> None:
        """Count a trial and say how it ended."""
        self._done += 1
        self._left -= self._expect(job) - epoch
        if score is not None and (self._best is None or score > self._best[0]):
            self._best = score, job.label
        self._report(f"{job.label}{f' (seed {job.replicate})' if self._phase == 'confirm' else ''}: {outcome}")

    def _report(self, text: str) -> None:
        self._said = time.monotonic()
        elapsed_s = self._said - self._started
        best = f"best {self._best[0]:.4f} ({self._best[1]})" if self._best else "none finished yet"
        guess = (
            f"about {_duration(elapsed_s / self._epochs_done * self._left)} left" if self._epochs_done and self._left > 0 else "nearly done"
        )
        self._say(f"{self._phase} {self._done}/{self._jobs} | {text} | {best} | {_duration(elapsed_s)} gone, {guess}")


class LedgerCallback(Callback):
    """Append every report of a trial to the ledger before Tune acts on it.

    Parameters
    ----------
    ledger : Ledger
        The study's.
    progress : Progress
        Told of the same events.
    """

    def __init__(self, ledger: Ledger, progress: Progress) -> None:
        self._ledger, self._progress = ledger, progress

    def __getstate__(self) -> dict[str, Any]:
        """Give Tune's snapshot nothing: only the ledger decides what was done."""
        return {}

    def on_trial_start(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        """Record what will be trained."""
        self._begin(Job.of(trial.config))

    def on_trial_result(self, iteration: int, trials: list[Trial], trial: Trial, result: dict[str, Any], **info: Any) -> None:
        """Record an epoch, and the score that comes with the last one."""
        job = Job.of(trial.config)
        if "failure" in result:
            return
        self._ledger.append(
            "epoch", **job.key, epoch=result["epoch"], metrics=result["metrics"], cost=result["cost"], objective=result[OBJECTIVE]
        )
        if result["score"] is not None:
            self._ledger.append("score", **job.key, **result["score"], cost=result["cost"])
        self._progress.epoch_done()

    def on_trial_complete(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        """Record how a trial ended: finished, stopped by the scheduler, or failed on purpose."""
        job, result = Job.of(trial.config), trial.last_result or {}
        epoch = int(result.get("epoch", 0))
        if "failure" in result:
            self._end(job, epoch, "failed", result["failure"], f"failed, {result['failure']}", None)
        elif result.get("score") is None:
            self._end(job, epoch, "stopped", "by the scheduler", f"stopped after epoch {epoch}, {result.get(OBJECTIVE, 0.0):.4f}", None)
        else:
            self._end(
                job,
                epoch,
                "finished",
                "",
                f"{_title(job.task['objective'])} {result[OBJECTIVE]:.4f}",
                result[OBJECTIVE],
            )

    def on_trial_error(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        """Record a trial whose worker died more often than it may be taken up again, or that met a bug."""
        self._begin(Job.of(trial.config))  # for Tune says nothing of the start of a trial that had no worker at all
        lines = [line for line in str(trial.get_error() or "").splitlines() if line.strip()]
        reason = lines[-1].strip()[:300] if lines else "its worker was lost"
        self._end(Job.of(trial.config), int((trial.last_result or {}).get("epoch", 0)), "failed", reason, f"failed, {reason}", None)

    def _begin(self, job: Job) -> None:
        facts = {name: job.task[name] for name in ("hyperparameters", "seed", "threads", "judged_on", "epochs", "folder")}
        self._ledger.append("trial", **job.key, label=job.label, baseline=job.baseline, **facts)

    def _end(self, job: Job, epoch: int, status: str, reason: str, said: str, score: float | None) -> None:
        self._ledger.append("trial_end", **job.key, status=status, reason=reason, epoch=epoch)
        self._progress.trial_done(job, epoch, said, score)


def _title(objective: str) -> str:
    return objective.replace("_", " ").replace("ssim", "SSIM").replace("psnr", "PSNR")


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60} h {minutes % 60:02d} min" if minutes >= 60 else f"{minutes}:{rest:02d} min"
