"""Run a trial again from the record alone, and say whether its numbers came back."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from study.command_line import load
from study.data.splits import Split
from study.data.store import Store
from study.errors import StudyError, TrialFailed
from study.record.ledger import DURATIONS, read_events
from study.trial.task import TrialTask
from study.tune.tasks import search_job, task_template
from study.tune.trainable import Job
from study.workflow.confirmation import confirm_jobs, leak_jobs


def find_job(
    folder: Path, *, trial: int, phase: str, replicate: int
) -> tuple[Job, list[dict[str, Any]]]:
    """Build a trial's job from configuration, images and ledger; return it with the ledger's events
    of it.

    Raises
    ------
    StudyError
        If there is no such trial, it did not report, or its images are not there or others.
    """
    events = read_events(folder)
    config, header = load(folder / "config.yaml"), events[0]
    own = [
        e
        for e in events
        if (e.get("phase"), e.get("trial"), e.get("replicate")) == (phase, trial, replicate)
    ]
    begun = next((event for event in own if event["event"] == "trial"), None)
    if begun is None or not any(event["event"] == "epoch" for event in own):
        reported = sorted(
            {(e["phase"], e["trial"], e["replicate"]) for e in events if e["event"] == "epoch"}
        )
        raise StudyError(
            f"{folder} holds no epoch of trial {trial}, phase {phase}, replicate {replicate}. It"
            " holds (phase, trial, replicate):"
            f" {', '.join(f'{p} {t} {r}' for p, t, r in reported) or 'none'}"
        )
    if not Path(header["store"]["folder"]).is_dir():
        raise StudyError(
            f"the prepared images are not in {header['store']['folder']} any more: `refocus"
            " prepare` makes them again"
        )
    store = Store(Path(header["store"]["folder"]))
    if store.fingerprint != header["store"]["fingerprint"]:
        raise StudyError(
            f"the images in {store.folder} are not those that the study was run with: their"
            " fingerprint is another"
        )
    sides = {
        side: [store.fields.index(field) for field in fields]
        for side, fields in header["split"].items()
    }
    split = Split(**sides)
    if phase == "search":
        label = begun["label"] if begun["baseline"] else None
        return search_job(config, store, split, trial, label, begun["hyperparameters"]), own
    make = confirm_jobs if phase == "confirm" else leak_jobs
    jobs = make(
        config,
        {trial: begun},
        task_template(config, store),
        split,
        store,
        epochs={trial: begun["epochs"]},
    )
    return next(job for job in jobs if job.replicate == replicate), own


def repeat(job: Job, events: list[dict[str, Any]], log: Callable[[str], None]) -> bool:
    """Train again, in this process and a scratch folder; return whether every number of every
    epoch, and the score, is the same.

    Parameters
    ----------
    job : Job
        From `find_job`.
    events : list of dict
        The ledger's of this trial.
    log : callable
        Prints a line for each epoch.
    """
    from study.trial.training import run_trial

    begun = next(event for event in events if event["event"] == "trial")
    held = {event["epoch"]: event["metrics"] for event in events if event["event"] == "epoch"}
    score = next((event for event in events if event["event"] == "score"), None)
    same, epoch = True, 0
    with tempfile.TemporaryDirectory() as scratch:
        task = replace(TrialTask(**job.task), folder=scratch, threads=begun["threads"])
        try:
            for report in run_trial(task):
                epoch = report.epoch
                if epoch not in held:  # it was stopped here
                    break
                differing = [
                    f"{name} {value!r}, the ledger's {held[epoch].get(name)!r}"
                    for name, value in report.metrics.items()
                    if name not in DURATIONS and not _equal(value, held[epoch].get(name))
                ]
                if report.score is not None and score is not None:
                    differing += [
                        f"score {name} {value!r}, the ledger's {score['summary'].get(name)!r}"
                        for name, value in report.score.summary.items()
                        if not _equal(value, score["summary"].get(name))
                    ]
                same = same and not differing
                log(f"epoch {epoch}/{max(held)}: " + ("; ".join(differing) or "identical"))
                if epoch == max(held):
                    break
        except TrialFailed as failure:
            log(f"after epoch {epoch}: {failure}")
    return same and epoch >= max(held)


def _equal(one: Any, other: Any) -> bool:
    return one == other or (
        isinstance(one, float)
        and isinstance(other, float)
        and math.isnan(one)
        and math.isnan(other)
    )
