"""A study's ledger -> tidy tables. Needs neither ray nor tensorflow nor mlflow."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from study.record.ledger import read_events

Event = dict[str, Any]
KEY = ["phase", "trial", "replicate"]


@dataclass(frozen=True, eq=False)
class Study:
    """Everything that a study left in its ledger.

    Parameters
    ----------
    folder : the study's folder.
    header : its first event: name, config (with what it was extended by), `resumed` (environments
        it was resumed in), store, images, split, environment.
    problems : why it is not complete; None if it has not ended.
    openings : how often the test set was opened.
    trials : a row for each run of a configuration: phase, trial, replicate, label, baseline,
        hyperparameters, status, reason, epochs trained, parameters, training_seconds and, if it was
        scored, the mean metrics at the evaluation resolution.
    epochs : phase, trial, replicate, epoch and its metrics.
    images : a row for every restored image: phase, trial, replicate, label, eval_split, field,
        well, level; metrics at the evaluation resolution, and with `own_` before them at the
        model's own size. References (unrestored input, the paper) have the phase `reference`; the
        paper's rows are means of many images. `row` is the ledger's line that the numbers stand in.
    references : a row for each reference with its mean metrics.
    stitching : the `stitching` events, each with its `row`.
    transfer : the confirmed networks and references on another data set, as a study of its own;
        None if there is none.
    """

    folder: Path
    header: dict[str, Any]
    problems: list[str] | None
    openings: int
    trials: pd.DataFrame
    epochs: pd.DataFrame
    images: pd.DataFrame
    references: pd.DataFrame
    stitching: list[dict[str, Any]]
    transfer: Study | None

    @property
    def kind(self) -> str:
        """The data set's name: bbbc005 or bbbc006."""
        return str(self.header["store"]["kind"])

    @property
    def in_focus(self) -> int:
        """The level that is the target of a restoration."""
        return int(self.header["images"]["in_focus_level"])


def load_study(folder: Path, *, run: int | None = None) -> Study:
    """Read a study's folder.

    Parameters
    ----------
    folder : Path
        The study's; trials are looked for in it, wherever it lay when it ran.
    run : int, optional
        As the study was when this run of it ended: 0 for what it was begun as, then the number of
        its `resumed` event.

    Raises
    ------
    StudyError
        If there is no ledger in it, or the ledger is corrupt.
    """
    folder = Path(folder)
    by_kind: dict[str, list[Event]] = {}
    for row, event in enumerate(read_events(folder), start=1):
        by_kind.setdefault(event["event"], []).append(event | {"row": row})
        if run is not None and event["event"] == "study_end" and event.get("run", 0) == run:
            break
    header = by_kind["study"][0]
    if "resumed" in by_kind:
        header = header | {
            "config": by_kind["resumed"][-1]["config"],
            "resumed": [event["environment"] for event in by_kind["resumed"]],
        }
    header = header | {"repeats": len(by_kind.get("repeat", []))}
    ends, begun = by_kind.get("study_end", []), by_kind.get("resumed", [])
    ended = bool(ends) and (not begun or ends[-1].get("run", 0) >= begun[-1]["run"])
    labels = {
        (event["phase"], event["trial"]): event["label"] for event in by_kind.get("trial", [])
    }
    scores = [
        event | {"label": labels[event["phase"], event["trial"]]}
        for event in by_kind.get("score", [])
    ]
    study = Study(
        folder=folder,
        header=header,
        problems=ends[-1]["problems"] if ended else None,
        openings=len(by_kind.get("test_opened", [])),
        trials=_trials(folder, by_kind),
        epochs=pd.DataFrame(
            [
                {**_key(event), "row": event["row"], "epoch": event["epoch"], **event["metrics"]}
                for event in by_kind.get("epoch", [])
            ]
        ),
        images=_images([*scores, *map(_as_score, by_kind.get("reference", []))]),
        references=_references(by_kind.get("reference", [])),
        stitching=by_kind.get("stitching", []),
        transfer=None,
    )
    return dataclasses.replace(study, transfer=_transfer(study, by_kind))


def _transfer(study: Study, by_kind: dict[str, list[Event]]) -> Study | None:
    """Return the scores on another data set as a study whose confirmed runs were judged there."""
    if not by_kind.get("transfer"):
        return None
    other = by_kind["transfer_set"][0]
    scores = [event | {"phase": "confirm", "eval_split": "test"} for event in by_kind["transfer"]]
    means = {(event["trial"], event["replicate"]): event["summary"] for event in scores}
    trials = study.trials[
        study.trials["phase"].isin(["confirm", "search"])
    ].copy()  # the search says who its winner is
    for index, run in trials[trials["phase"] == "confirm"].iterrows():
        found = means.get((run["trial"], run["replicate"]), {})
        for name in ("ssim", "psnr", "nrmse", "rmse", "mse"):
            trials.loc[index, name] = found.get(name, np.nan)
    references = by_kind.get("transfer_reference", [])
    return dataclasses.replace(
        study,
        header=study.header
        | {
            "store": other["store"],
            "images": other["images"],
            "trained_on": study.header["images"],
        },
        trials=trials,
        epochs=study.epochs.iloc[:0],
        images=_images([*scores, *map(_as_score, references)]),
        references=_references(references),
        stitching=[],
    )


def anything_finished(study: Study) -> bool:
    """Return whether at least one trial ran to its end."""
    return not study.trials.empty and bool((study.trials["status"] == "finished").any())


def _key(event: dict[str, Any]) -> dict[str, Any]:
    return {name: event[name] for name in KEY}


def _trials(folder: Path, by_kind: dict[str, list[dict[str, Any]]]) -> pd.DataFrame:
    rows: dict[tuple[Any, ...], dict[str, Any]] = {}
    for event in by_kind.get("trial", []):
        rows[tuple(_key(event).values())] = {
            **_key(event),
            "label": event["label"],
            "baseline": event["baseline"],
            "seed": event["seed"],
            "row": event["row"],
            "hyperparameters": event["hyperparameters"],
            "folder": str(folder / "trials" / Path(event["folder"]).name),
            "status": "unfinished",
            "reason": "",
            "epoch": 0,
        }
    for event in by_kind.get("epoch", []):
        rows[tuple(_key(event).values())] |= {"epoch": event["epoch"], **event["cost"]}
    for event in by_kind.get("score", []):
        rows[tuple(_key(event).values())] |= event["summary"]
    for event in by_kind.get("trial_end", []):
        rows[tuple(_key(event).values())] |= {"status": event["status"], "reason": event["reason"]}
    return pd.DataFrame(list(rows.values()))


def _as_score(event: Event) -> Event:
    return {"phase": "reference", "trial": -1, "replicate": 0, "label": event["reference"], **event}


def _references(events: list[Event]) -> pd.DataFrame:
    return pd.DataFrame(
        [
            {
                "label": event["reference"],
                "eval_split": event["eval_split"],
                "row": event["row"],
                **event["summary"],
            }
            for event in events
        ]
    )


def _images(scores: list[Event]) -> pd.DataFrame:
    frames = []
    for event in scores:
        levels, fields = event["levels"], event.get("fields", [""])
        columns: dict[str, Any] = {
            **_key(event),
            "label": event["label"],
            "eval_split": event["eval_split"],
            "row": event["row"],
            "field": np.repeat(fields, len(levels)),
            "well": np.repeat(event.get("wells", [""]), len(levels)),
            "level": np.tile(levels, len(fields)),
        }
        for table, prefix in (("evaluation", ""), ("own", "own_")):
            columns |= {
                f"{prefix}{name}": np.ravel(np.array(values, float))
                for name, values in event.get(table, {}).items()
            }
        frame = pd.DataFrame(columns)
        frames.append(frame[frame["ssim"].notna()])
    return pd.concat(frames, ignore_index=True) if frames else pd.DataFrame()
