"""Run a trial again from the record alone, and say whether its numbers came back."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from study.command_line import load
from study.data.store import Store
from study.errors import StudyError, TrialFailed
from study.record.history import History, Run
from study.record.identities import Phase, RunId, TrialId
from study.record.ledger import DURATIONS
from study.trial.task import EpochReport, TrialTask
from study.tune.tasks import Configuration, search_job
from study.workflow.confirmation import Budget, confirm_jobs, leak_jobs
from study.workflow.sides import split_by_name


def find_run(history: History, trial: TrialId, *, phase: Phase | None, replicate: int) -> Run:
    """Return a run that a study recorded.

    Parameters
    ----------
    history : History
        The study's.
    trial : TrialId
        Its configuration.
    phase : Phase, optional
        Search if the configuration was searched, else confirm.
    replicate : int
        Which training of it.

    Raises
    ------
    StudyError
        If there is none, or it did not report; those that did are named.
    """
    if phase is None:
        searched = RunId(Phase.SEARCH, trial, replicate) in history.runs
        phase = Phase.SEARCH if searched else Phase.CONFIRM
    run = history.runs.get(RunId(phase, trial, replicate))
    if run is None or not run.epochs:
        reported = sorted(one.id for one in history.runs.values() if one.epochs)
        named = ", ".join(map(str, reported)) or "none"
        raise StudyError(
            f"{history.study.name} holds no epoch of trial {trial}, phase {phase}, replicate"
            f" {replicate}. It holds (phase, trial, replicate): {named}"
        )
    return run


def task_of(folder: Path, history: History, run: Run) -> TrialTask:
    """Build a run's task from configuration, images and ledger.

    Raises
    ------
    StudyError
        If its images are not there, or others.
    """
    config, facts = load(folder / "config.yaml"), history.study.store
    if not Path(facts.folder).is_dir():
        raise StudyError(
            f"the prepared images are not in {facts.folder} any more: `refocus prepare` makes them"
            " again"
        )
    store = Store(Path(facts.folder))
    if store.fingerprint != facts.fingerprint:
        raise StudyError(
            f"the images in {store.folder} are not those that the study was run with: their"
            " fingerprint is another"
        )
    split = split_by_name(history.study.split, store.fields)
    configuration = Configuration.of(run.begun)
    if run.id.phase == Phase.SEARCH:
        task = search_job(config, store, split, configuration).task
    else:
        make = confirm_jobs if run.id.phase == Phase.CONFIRM else leak_jobs
        budgets = {run.trial: Budget(run.begun.epochs, run.begun.steps)}
        jobs = make(config, [configuration], split, store, budgets=budgets)
        task = next(job.task for job in jobs if job.run == run.id)
    return replace(task, seed=run.begun.seed, threads=run.begun.threads)


def repeat(task: TrialTask, run: Run, log: Callable[[str], None]) -> bool:
    """Train again, in this process and a scratch folder; return whether every number of every
    epoch, and the score, is the same.

    Parameters
    ----------
    task : TrialTask
        From `task_of`.
    run : Run
        What the ledger says of it.
    log : callable
        Prints a line for each epoch.
    """
    from study.trial.training import run_trial

    same, epoch, last = True, 0, max(run.epochs)
    with tempfile.TemporaryDirectory() as scratch:
        try:
            for report in run_trial(replace(task, folder=scratch)):
                epoch = report.epoch
                if epoch > last:  # it was stopped here
                    break
                differing = _differing(report, run)
                same = same and not differing
                log(f"epoch {epoch}/{last}: " + ("; ".join(differing) or "identical"))
                if epoch == last:
                    break
        except TrialFailed as failure:
            log(f"after epoch {epoch}: {failure}")
    return same and epoch >= last


def _differing(report: EpochReport, run: Run) -> list[str]:
    """Name every number of an epoch, and of its score, that the ledger has otherwise."""
    held = run.epochs[report.epoch].metrics
    pairs = [
        (name, value, held.get(name))
        for name, value in report.metrics.items()
        if name not in DURATIONS
    ]
    if report.score is not None and run.score is not None:
        before = run.score.summary
        pairs += [(f"score {n}", value, before.get(n)) for n, value in report.score.summary.items()]
    return [
        f"{name} {value!r}, the ledger's {before!r}"
        for name, value, before in pairs
        if not _equal(value, before)
    ]


def _equal(one: float, other: float | None) -> bool:
    return one == other or (other is not None and math.isnan(one) and math.isnan(other))
