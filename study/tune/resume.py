"""What a ledger says of the trials of a search that was begun before: all that a resumed search
knows.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from study.config import StudyConfig
from study.data.store import Store
from study.errors import StudyError
from study.record.ledger import read_events

Hyperparameters = dict[str, Any]
SCORED_BY = (
    "objectives",
    "level_weights",
    "max_tflop",
    "rung_images",
)  # what a score and a rung score depend on
WARM_PROPOSALS = 4  # of an earlier study on other images: the best so many are tried first


@dataclass
class PastTrial:
    """A searched trial or a baseline, as far as it came.

    Parameters
    ----------
    number : of the trial.
    baseline : whether it is one.
    hyperparameters : its point.
    curve : objective after each epoch, the first is 1.
    costs : as of its last epoch.
    status : finished, stopped, failed, or empty if it was under way.
    reason : why it failed.
    """

    number: int
    baseline: bool
    hyperparameters: dict[str, Any]
    curve: dict[int, float] = field(default_factory=dict)
    costs: dict[str, float] = field(default_factory=dict)
    status: str = ""
    reason: str = ""


def past_trials(events: list[dict[str, Any]]) -> dict[int, PastTrial]:
    """Return the trials of a ledger's search by number."""
    trials: dict[int, PastTrial] = {}
    for event in events:
        if event.get("phase") != "search":
            continue
        if event["event"] == "trial":
            trials[event["trial"]] = PastTrial(
                event["trial"], event["baseline"], event["hyperparameters"]
            )
        elif event["event"] == "epoch":
            trials[event["trial"]].curve[event["epoch"]] = event["objective"]
            trials[event["trial"]].costs = event["cost"]
        elif event["event"] == "trial_end":
            trials[event["trial"]].status, trials[event["trial"]].reason = (
                event["status"],
                event["reason"],
            )
    return trials


@dataclass(frozen=True)
class WarmStart:
    """What an earlier study gives a new search.

    Parameters
    ----------
    told : trials whose results hold here too: those of the same images, told to the searcher as
        they ended.
    proposed : points to try first: the best of a study on other images, whose results do not hold
        here.
    """

    told: list[PastTrial] = field(default_factory=list)
    proposed: list[dict[str, Any]] = field(default_factory=list)


def earlier_winner(config: StudyConfig) -> tuple[str, dict[str, Any]]:
    """Return label and point of the winner of the study that a configuration starts warm from: the
    searched trial that was best on validation.
    """
    folder = Path(str(config.search.warm_start))
    events = read_events(folder)
    trials = {
        event["trial"]: event
        for event in events
        if event["event"] == "trial" and event["phase"] == "search" and not event["baseline"]
    }
    scores = {
        event["trial"]: event["summary"]["objective"]
        for event in events
        if event["event"] == "score" and event["phase"] == "search" and event["trial"] in trials
    }
    if not scores:
        raise StudyError(
            f"search.warm_start: no searched trial of {folder} ran to its end, so it has no winner"
            " to confirm"
        )
    return (
        f"winner of {folder.name}",
        trials[max(scores, key=lambda trial: scores[trial])]["hyperparameters"],
    )


def warm_trials(
    config: StudyConfig,
    store: Store,
    admit: Callable[[Hyperparameters], Hyperparameters | None] = lambda hyperparameters: (
        hyperparameters
    ),
) -> WarmStart:
    """Read the trials of the study that a configuration starts warm from; its baselines are left
    out, for they are run anyway.

    Parameters
    ----------
    config, store : StudyConfig, Store
        The new study's.
    admit : callable, optional
        Returns a point as the space is here, or None if it holds no such point.

    Raises
    ------
    StudyError
        If it searched another space.
    """
    if config.search.warm_start is None:
        return WarmStart()
    events = read_events(Path(config.search.warm_start))
    earlier = events[0]
    if (space := earlier["config"]["search"]["space"]) != config.search.space:
        raise StudyError(
            f"search.warm_start: {config.search.warm_start} searched the space {space}, not"
            f" {config.search.space}"
        )
    trials = [
        trial
        for trial in past_trials(events).values()
        if not trial.baseline and trial.status in ("finished", "stopped")
    ]
    trials = [
        replace(trial, hyperparameters=hyperparameters)
        for trial in trials
        if (hyperparameters := admit(trial.hyperparameters)) is not None
    ]
    here, there = (
        json.loads(json.dumps(config.to_dict())),
        earlier["config"],
    )  # as a ledger holds it
    same = earlier["store"]["fingerprint"] == store.fingerprint and there["seed"] == config.seed
    same = same and all(there[part] == here[part] for part in ("sizes", "training", "evaluation"))
    same = same and all(there["search"].get(name) == here["search"][name] for name in SCORED_BY)
    same = same and all(
        there["dataset"][name] == here["dataset"][name] for name in ("test", "validation", "split")
    )
    # the same images on the same sides, scored in the same way: nothing that is a test image here
    # was learned from there
    if same:
        return WarmStart(told=trials)
    finished = [trial for trial in trials if trial.status == "finished"]
    finished.sort(key=lambda trial: -trial.curve[max(trial.curve)])
    return WarmStart(proposed=[trial.hyperparameters for trial in finished[:WARM_PROPOSALS]])
