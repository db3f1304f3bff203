"""What the driver does with every report of a trial: into the ledger, and onto the screen."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ray.tune import Callback
from ray.tune.experiment import Trial

from study.record.events import EpochEnded, TrialEnded, TrialPlaced, TrialScored
from study.record.identities import Phase, Role, RunId, TrialStatus
from study.record.ledger import Ledger
from study.tune.trainable import OBJECTIVE, Job

LOG_EVERY_S = 15.0
Log = Callable[[str], None]


class Progress:
    """Lines for a person: trials done, the best so far, and the time left.

    Parameters
    ----------
    log : callable
        Prints a line.
    phase : Phase
        What is being done.
    jobs : int
        How many trials there are.
    work : callable
        Job and the epochs it has run -> the work that it has done, and that it is expected to do
        still, in any unit.
    known : sequence of Job
        The trials, where they are known from the beginning.
    """

    def __init__(
        self,
        log: Log,
        *,
        phase: Phase,
        jobs: int,
        work: Callable[[Job, int], tuple[float, float]],
        known: Sequence[Job] = (),
    ) -> None:
        self._log, self._phase, self._jobs, self._work = log, phase, jobs, work
        self._started = self._said = time.monotonic()
        self._epochs_done = self._done = 0
        # of every trial that is known, from its beginning
        self._expected = {job.run: work(job, 0)[1] for job in known}
        self._searched: set[RunId] = set()
        self._begun: dict[RunId, float] = {}  # what it had done before: trials are resumed
        self._did: dict[RunId, float] = {}
        self._left: dict[RunId, float] = {}
        self._best: tuple[float, str] | None = None
        self._told: set[str] = set()

    def epoch_done(self, job: Job, epoch: int) -> None:
        """Count an epoch, and say how far the phase is if nothing was said for a while."""
        place = job.run
        self._epochs_done += 1
        if place not in self._begun:
            self._begun[place], self._expected[place] = (
                self._work(job, epoch - 1)[0],
                self._work(job, 0)[1],
            )
            if job.role == Role.SEARCHED:
                self._searched.add(place)
        done, self._left[place] = self._work(job, epoch)
        self._did[place] = done - self._begun[place]
        if time.monotonic() - self._said > LOG_EVERY_S:
            self._report(f"{self._epochs_done} epochs trained")

    def log_once(self, line: str) -> None:
        """Print a line that is not printed again."""
        if line not in self._told:
            self._told.add(line)
            self._log(line)

    def trial_done(self, job: Job, outcome: str, score: float | None) -> None:
        """Count a trial and say how it ended."""
        self._done += 1
        self._left[job.run] = 0.0
        if score is not None and (self._best is None or score > self._best[0]):
            self._best = score, job.label
        self._report(
            f"{job.label}{f' (seed {job.run.replicate})' if self._phase == Phase.CONFIRM else ''}:"
            f" {outcome}"
        )

    def _report(self, text: str) -> None:
        self._said = time.monotonic()
        elapsed_s = self._said - self._started
        best = f"best {self._best[0]:.4f} ({self._best[1]})" if self._best else "none finished yet"
        did, left = sum(self._did.values()), self._work_left()
        guess = (
            f"about {format_duration(elapsed_s / did * left)} remaining"
            if did and left > 0
            else "nearly done"
        )
        self._log(
            f"{self._phase} {self._done}/{self._jobs} | {text} | {best} |"
            f" {format_duration(elapsed_s)} elapsed, {guess}"
        )

    def _work_left(self) -> float:
        waiting = [work for place, work in self._expected.items() if place not in self._left]
        unknown = max(0, self._jobs - len(self._left) - len(waiting))
        alike = [self._expected[place] for place in self._searched or self._begun]
        return sum(self._left.values()) + sum(waiting) + unknown * sum(alike) / max(1, len(alike))


class LedgerCallback(Callback):
    """Append every report of a trial to the ledger before Tune acts on it.

    Parameters
    ----------
    ledger : Ledger
        The study's.
    progress : Progress
        Told of the same events.
    nodes : mapping
        Names of the cluster's nodes by Ray's ids of them.
    """

    def __init__(
        self,
        ledger: Ledger,
        progress: Progress,
        nodes: Mapping[str, str],
        explain: Callable[[str, str], None],
    ) -> None:
        self._ledger, self._progress, self._nodes, self._explain = ledger, progress, nodes, explain

    def __getstate__(self) -> dict[str, Any]:
        """Give Tune's snapshot nothing: only the ledger decides what was done."""
        return {}

    def on_trial_start(
        self, iteration: int, trials: list[Trial], trial: Trial, **info: Any
    ) -> None:
        """Record what will be trained."""
        self._ledger.append(Job.of(trial.config).begun)

    def on_trial_result(
        self, iteration: int, trials: list[Trial], trial: Trial, result: dict[str, Any], **info: Any
    ) -> None:
        """Record an epoch, and the score that comes with the last one."""
        job = Job.of(trial.config)
        if "failure" in result:
            return
        place = result["place"] | {
            "node": self._nodes.get(result["place"]["node"], result["place"]["node"])
        }
        if 0 < (place["gpu_share"] or 0) < 1 and place["gpu_limit_mib"] is None:
            self._progress.log_once(
                f"node {place['node']}: trials share a GPU whose memory is not bounded, for"
                " its driver does not tell how large it is"
            )
        self._ledger.append(TrialPlaced(**job.key, **place))
        epoch = EpochEnded(
            **job.key,
            epoch=result["epoch"],
            metrics=result["metrics"],
            cost=result["cost"],
            objective=result[OBJECTIVE],
        )
        self._ledger.append(epoch)
        if (score := result["score"]) is not None:
            self._ledger.append(TrialScored(**job.key, **vars(score), cost=result["cost"]))
        self._progress.epoch_done(job, result["epoch"])

    def on_trial_complete(
        self, iteration: int, trials: list[Trial], trial: Trial, **info: Any
    ) -> None:
        """Record how a trial ended: finished, stopped by the scheduler, or failed on purpose."""
        job, result = Job.of(trial.config), trial.last_result or {}
        epoch = int(result.get("epoch", 0))
        if "failure" in result:
            reason = result["failure"]
            self._end(job, epoch, TrialStatus.FAILED, reason, f"failed, {reason}", None)
        elif result.get("score") is None:
            value = result.get(OBJECTIVE, 0.0)
            text = f"stopped after epoch {epoch}, {value:.4f}"
            self._end(job, epoch, TrialStatus.STOPPED, "by the scheduler", text, None)
        else:
            value = result[OBJECTIVE]
            text = f"{_title(job.task.objective)} {value:.4f}"
            self._end(job, epoch, TrialStatus.FINISHED, "", text, value)

    def on_trial_error(
        self, iteration: int, trials: list[Trial], trial: Trial, **info: Any
    ) -> None:
        """Record a trial whose worker died more often than it may be taken up again, or that met a
        bug.
        """
        job = Job.of(trial.config)
        # Tune says nothing of the start of a trial that had no worker at all
        self._ledger.append(job.begun)
        reason = _reason(trial)
        self._explain(trial.trial_id, reason)
        epoch = int((trial.last_result or {}).get("epoch", 0))
        self._end(job, epoch, TrialStatus.FAILED, reason, f"failed, {reason}", None)

    def _end(
        self,
        job: Job,
        epoch: int,
        status: TrialStatus,
        reason: str,
        text: str,
        score: float | None,
    ) -> None:
        ended = TrialEnded(**job.key, status=status, reason=reason, epoch=epoch)
        self._ledger.append(ended)
        self._progress.trial_done(job, text, score)


def _reason(trial: Trial) -> str:
    """Return the last line of a trial's error, from the driver's own file: Tune's copy of it in the
    study's folder may not be there yet.
    """
    try:
        text = Path(trial.error_file or "").read_text(encoding="utf-8")
    except OSError:
        text = ""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1][:300] if lines else "its worker was lost"


def _title(objective: str) -> str:
    return (
        objective.replace("penalized_ssim", "SSIM less harm")
        .replace("_", " ")
        .replace("ssim", "SSIM")
        .replace("psnr", "PSNR")
    )


def format_duration(seconds: float) -> str:
    """Write a duration as a person reads it: 4:05 min, 3 h 20 min."""
    minutes, rest = divmod(round(seconds), 60)
    return (
        f"{minutes // 60} h {minutes % 60:02d} min"
        if minutes >= 60
        else f"{minutes}:{rest:02d} min"
    )
