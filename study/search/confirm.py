"""The last word: the best and the baselines again, over replicates, trained on all but the test set and scored on it."""

from __future__ import annotations

from typing import Any

from study.config import StudyConfig, derive_seed
from study.search.jobs import Job


def choose_candidates(events: list[dict[str, Any]], *, best: int) -> list[int]:
    """Return the trials to confirm: every baseline, and the searched trials with the best validation SSIM.

    Parameters
    ----------
    events : list of dict
        The study's ledger.
    best : int
        How many searched trials.
    """
    trials = {event["trial"]: event for event in events if event["event"] == "trial" and event["phase"] == "search"}
    scores = {event["trial"]: event["summary"]["ssim"] for event in events if event["event"] == "score" and event["phase"] == "search"}
    searched = [trial for trial in scores if not trials[trial]["baseline"]]
    searched.sort(key=lambda trial: (-scores[trial], trial))
    return [trial for trial, event in trials.items() if event["baseline"]] + searched[:best]


def confirm_jobs(config: StudyConfig, points: dict[int, dict[str, Any]], template: dict[str, Any], split: Any) -> list[Job]:
    """Return one job for each candidate and replicate.

    Parameters
    ----------
    config : StudyConfig
        The study's.
    points : dict
        Trial -> its `trial` event: label, baseline, hyperparameters.
    template : dict
        A task's values that all trials of the study share.
    split : Split
        Train and validation are trained on; test is scored.
    """
    jobs = []
    for trial, point in points.items():
        for replicate in range(config.confirm.replicates):
            task = template | {
                "hyperparameters": point["hyperparameters"],
                "train": sorted([*split.train, *split.validation]),
                "judge": split.test,
                "judged_on": "test",
                "rung_images": 0,
                "seed": derive_seed(config.seed, "confirm", trial, replicate),
                "folder": str(config.folder / "trials" / f"confirm-{trial:04d}-{replicate}"),
            }
            jobs.append(Job("confirm", trial, replicate, point["label"], point["baseline"], task))
    return jobs
