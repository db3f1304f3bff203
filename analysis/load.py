"""A study's ledger -> tidy tables. Needs neither ray nor tensorflow nor mlflow."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from study.record.ledger import level_means, read_events

KEY = ["phase", "trial", "replicate"]


@dataclass(frozen=True)
class Study:
    """Everything that a study left in its ledger.

    Parameters
    ----------
    folder : the study's folder.
    header : its first event: name, config, store, images, split, environment.
    problems : why it is not complete; None if it has not ended.
    openings : how often the test set was opened.
    trials : a row for each run of a configuration: phase, trial, replicate, label, baseline, hyperparameters, status,
        reason, epochs trained, parameters, training_seconds and, if it was scored, the mean metrics on the common grid.
    epochs : phase, trial, replicate, epoch and its metrics.
    levels : phase, trial, replicate, label, judged_on, level; metrics on the common grid, and with `own_` before them at
        the model's own size. References (do-nothing, the paper) have the phase `reference`.
    fields : phase, trial, replicate, label, field, well and metrics, means over the defocused levels.
    references : a row for each reference with its mean metrics.
    scores : the `score` and `reference` events, each with its label.
    """

    folder: Path
    header: dict[str, Any]
    problems: list[str] | None
    openings: int
    trials: pd.DataFrame
    epochs: pd.DataFrame
    levels: pd.DataFrame
    fields: pd.DataFrame
    references: pd.DataFrame
    scores: list[dict[str, Any]]

    @property
    def kind(self) -> str:
        """The data set's name: bbbc005 or bbbc006."""
        return str(self.header["store"]["kind"])


def load_study(folder: Path) -> Study:
    """Read a study's folder.

    Raises
    ------
    StudyError
        If there is no ledger in it, or the ledger is corrupt.
    """
    folder = Path(folder)
    events = read_events(folder)
    by_kind: dict[str, list[dict[str, Any]]] = {}
    for event in events:
        by_kind.setdefault(event["event"], []).append(event)
    ends = by_kind.get("study_end", [])
    labels = {(event["phase"], event["trial"]): event["label"] for event in by_kind.get("trial", [])}
    scored = [event | {"label": labels[event["phase"], event["trial"]]} for event in by_kind.get("score", [])]
    scored += [
        {"phase": "reference", "trial": -1, "replicate": 0, "label": event["reference"], **event} for event in by_kind.get("reference", [])
    ]
    return Study(
        folder=folder,
        header=by_kind["study"][0],
        problems=ends[-1]["problems"] if ends else None,
        openings=len(by_kind.get("test_opened", [])),
        trials=_trials(by_kind),
        epochs=pd.DataFrame([{**_key(event), "epoch": event["epoch"], **event["metrics"]} for event in by_kind.get("epoch", [])]),
        levels=_levels(scored),
        fields=_fields(scored, by_kind["study"][0]["images"]["in_focus_level"]),
        scores=scored,
        references=pd.DataFrame(
            [{"label": event["reference"], "judged_on": event["judged_on"], **event["summary"]} for event in by_kind.get("reference", [])]
        ),
    )


def anything_finished(study: Study) -> bool:
    """Return whether at least one trial ran to its end."""
    return not study.trials.empty and bool((study.trials["status"] == "finished").any())


def _key(event: dict[str, Any]) -> dict[str, Any]:
    return {name: event[name] for name in KEY}


def _trials(by_kind: dict[str, list[dict[str, Any]]]) -> pd.DataFrame:
    rows: dict[tuple[Any, ...], dict[str, Any]] = {}
    for event in by_kind.get("trial", []):
        rows[tuple(_key(event).values())] = {
            **_key(event), "label": event["label"], "baseline": event["baseline"], "seed": event["seed"],
            "hyperparameters": event["hyperparameters"], "folder": event["folder"], "status": "unfinished", "reason": "", "epoch": 0,
        }  # fmt: skip
    for event in by_kind.get("epoch", []):
        rows[tuple(_key(event).values())] |= {"epoch": event["epoch"], **event["cost"]}
    for event in by_kind.get("score", []):
        rows[tuple(_key(event).values())] |= event["summary"]
    for event in by_kind.get("trial_end", []):
        rows[tuple(_key(event).values())] |= {"status": event["status"], "reason": event["reason"]}
    return pd.DataFrame(list(rows.values()))


def _levels(scored: list[dict[str, Any]]) -> pd.DataFrame:
    rows = []
    for event in scored:
        means = {
            f"{prefix}{name}": level_means(event, table, name)
            for table, prefix in (("common", ""), ("own", "own_"))
            for name in event.get(table, {})
        }
        for index, level in enumerate(event["levels"]):
            values = {name: column[index] for name, column in means.items()}
            rows.append({**_key(event), "label": event["label"], "judged_on": event["judged_on"], "level": level, **values})
    return pd.DataFrame(rows)


def _fields(scored: list[dict[str, Any]], in_focus: int) -> pd.DataFrame:
    rows = []
    for event in scored:
        if not event.get("fields"):
            continue
        defocused = [index for index, level in enumerate(event["levels"]) if level != in_focus]
        means = {name: np.nanmean(np.array(values)[:, defocused], axis=1) for name, values in event["common"].items()}
        for index, field in enumerate(event["fields"]):
            place = {"judged_on": event["judged_on"], "field": field, "well": event["wells"][index]}
            rows.append({**_key(event), "label": event["label"], **place, **{name: values[index] for name, values in means.items()}})
    return pd.DataFrame(rows)
