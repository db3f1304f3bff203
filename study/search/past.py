"""What a ledger says of the trials of a search that was begun before: all that a resumed search knows."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass
class PastTrial:
    """A searched trial or a baseline, as far as it came.

    Parameters
    ----------
    number : of the trial.
    baseline : whether it is one.
    hyperparameters : its point.
    curve : objective after each epoch, the first is 1.
    status : finished, stopped, failed, or empty if it was under way.
    reason : why it failed.
    """

    number: int
    baseline: bool
    hyperparameters: dict[str, Any]
    curve: dict[int, float] = field(default_factory=dict)
    status: str = ""
    reason: str = ""


def past_trials(events: list[dict[str, Any]]) -> dict[int, PastTrial]:
    """Return the trials of a ledger's search by number."""
    trials: dict[int, PastTrial] = {}
    for event in events:
        if event.get("phase") != "search":
            continue
        if event["event"] == "trial":
            trials[event["trial"]] = PastTrial(event["trial"], event["baseline"], event["hyperparameters"])
        elif event["event"] == "epoch":
            trials[event["trial"]].curve[event["epoch"]] = event["objective"]
        elif event["event"] == "trial_end":
            trials[event["trial"]].status, trials[event["trial"]].reason = event["status"], event["reason"]
    return trials
