"""What a study's ledger says -> tidy tables. Needs neither ray nor tensorflow nor mlflow."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from study.config import StudyConfig
from study.record.events import ReferenceScored, TransferScored, TrialScored
from study.record.facts import ImageFacts, StoreFacts
from study.record.history import History, Run
from study.record.identities import Phase, Reference, RunId
from study.record.ledger import read_history

REFERENCE = "reference"  # the phase of rows that no run of a configuration has made
METRICS = ("ssim", "psnr", "nrmse", "rmse", "mse", "si_ssim", "si_psnr")


@dataclass(frozen=True, eq=False)
class Study:
    """A study as tables: decisions are made from its history, numbers from the tables.

    Parameters
    ----------
    folder : the study's folder.
    history : what its ledger says.
    store, dataset : the images that its networks were scored on.
    references : the references on those images, with their scores.
    trials : a row for each run of a configuration: phase, trial, replicate, label, role,
        hyperparameters, status, reason, epochs trained, costs and, if it was scored, the mean
        metrics at the evaluation resolution.
    epochs : phase, trial, replicate, epoch and its metrics.
    images : a row for every restored image: phase, trial, replicate, label, role, size, eval_split,
        field, well, level; metrics at the evaluation resolution, and with `own_` before them at the
        model's own size. References have the phase `reference` and, where they have one, a size;
        the paper's rows are means of many images. `row` is the ledger's line that the numbers stand
        in. `split_number` is that of the split into training and test side that a confirmed run
        belongs to, 0 where there is one; where there are more, `test_to_train` is the number of
        test wells to a well trained on.
    transfer : the confirmed networks and references on another data set, as a study of its own;
        None if there is none.
    """

    folder: Path
    history: History
    store: StoreFacts
    dataset: ImageFacts
    references: Mapping[Reference, ReferenceScored]
    trials: pd.DataFrame
    epochs: pd.DataFrame
    images: pd.DataFrame
    transfer: Study | None = None

    @property
    def config(self) -> StudyConfig:
        """The configuration, with what the study was extended by."""
        return self.history.config

    @property
    def trained_on(self) -> ImageFacts:
        """The images that the networks were trained on."""
        return self.history.study.images

    @property
    def kind(self) -> str:
        """The data set's name in a configuration, such as bbbc006."""
        return self.store.kind

    @property
    def in_focus(self) -> int:
        """The level that is the target of a restoration."""
        return self.dataset.in_focus_level

    @property
    def anything_finished(self) -> bool:
        """Whether at least one run ran to its end."""
        return any(run.finished for run in self.history.runs.values())

    def run_folder(self, run: Run) -> Path:
        """Return where a run left its weights and examples: in the study's folder, wherever that
        was when it ran.
        """
        return self.folder / "trials" / Path(run.begun.folder).name


def load_study(folder: Path) -> Study:
    """Read a study's folder.

    Raises
    ------
    StudyError
        If there is no ledger in it, or the ledger is corrupt.
    """
    return tables_of(Path(folder), read_history(folder))


def tables_of(folder: Path, history: History) -> Study:
    """Return the tables of a study.

    Parameters
    ----------
    folder : Path
        The study's; trials are looked for in it, wherever it lay when it ran.
    history : History
        What its ledger says.
    """
    scores = sorted(
        (run.score for run in history.runs.values() if run.score), key=lambda score: score.row
    )
    rows = [
        _image_rows(
            score,
            _about(history.runs[score.run]) | split_of(history, score.run),
            eval_split=score.eval_split,
        )
        for score in scores
    ]
    study = Study(
        folder=folder,
        history=history,
        store=history.study.store,
        dataset=history.study.images,
        references=history.references,
        trials=_trials(folder, history),
        epochs=_epochs(history),
        images=_joined([*rows, *_reference_rows(history.references)]),
    )
    return dataclasses.replace(study, transfer=_transfer(study))


def _transfer(study: Study) -> Study | None:
    """Return the scores on another data set as a study whose confirmed runs were scored there."""
    history = study.history
    if history.transfer_set is None or not history.transfers:
        return None
    trials = study.trials[study.trials["phase"].isin([Phase.CONFIRM, Phase.SEARCH])].copy()
    for index, row in trials[trials["phase"] == Phase.CONFIRM].iterrows():
        event = history.transfers.get(RunId(Phase.CONFIRM, row["trial"], row["replicate"]))
        for name in METRICS:
            trials.loc[index, name] = event.summary.get(name, np.nan) if event else np.nan
    rows = [
        _image_rows(event, _about(history.runs[run]) | split_of(history, run), eval_split="test")
        for run, event in history.transfers.items()
    ]
    references = history.transfer_references
    return dataclasses.replace(
        study,
        store=history.transfer_set.store,
        dataset=history.transfer_set.images,
        references=references,
        trials=trials,
        epochs=study.epochs.iloc[:0],
        images=_joined([*rows, *_reference_rows(references)]),
    )


def _trials(folder: Path, history: History) -> pd.DataFrame:
    rows = []
    for run in history.runs.values():
        about = {
            **_about(run),
            "seed": run.begun.seed,
            "row": run.begun.row,
            "hyperparameters": run.hyperparameters,
            "folder": str(folder / "trials" / Path(run.begun.folder).name),
            "status": "unfinished" if run.end is None else str(run.end.status),
            "reason": "" if run.end is None else run.end.reason,
            "epoch": max(run.epochs, default=0),
        }
        rows.append({**about, **run.cost, **(run.score.summary if run.score else {})})
    return pd.DataFrame(rows)


def _epochs(history: History) -> pd.DataFrame:
    events = [event for run in history.runs.values() for event in run.epochs.values()]
    return pd.DataFrame(
        [
            {**_key(event.run), "row": event.row, "epoch": event.epoch, **event.metrics}
            for event in sorted(events, key=lambda event: event.row)
        ]
    )


def _key(run: RunId) -> dict[str, Any]:
    return {"phase": str(run.phase), "trial": run.trial, "replicate": run.replicate}


def _about(run: Run) -> dict[str, Any]:
    return {**_key(run.id), "label": run.label, "role": str(run.role)}


def split_of(history: History, run: RunId) -> dict[str, float]:
    """Return which split a run was trained on: the replicates of the first one come first."""
    confirm = history.config.confirm
    if confirm.splits == 1:
        return {"split_number": 0}
    wells = history.study.images.wells
    test = wells.get("test", 0)
    number = run.replicate // confirm.replicates if run.phase == Phase.CONFIRM else 0
    return {"split_number": number, "test_to_train": test / (sum(wells.values()) - test)}


def _reference_rows(references: Mapping[Reference, ReferenceScored]) -> list[pd.DataFrame]:
    tables = []
    for reference, event in references.items():
        about = {"phase": REFERENCE, "trial": None, "replicate": 0}
        about |= {"label": reference.label, "role": str(reference.role), "split_number": 0}
        tables.append(_image_rows(event, about, eval_split=reference.split, size=reference.size))
    return tables


def _image_rows(
    event: TrialScored | TransferScored | ReferenceScored,
    about: Mapping[str, Any],
    *,
    eval_split: str,
    size: int | None = None,
) -> pd.DataFrame:
    """Return a row for every image of a score; a printed curve has one image without a name."""
    levels, fields = event.levels, event.fields or [""]
    columns = {
        **about,
        "size": np.nan if size is None else float(size),
        "eval_split": eval_split,
        "row": event.row,
        "field": np.repeat(fields, len(levels)),
        "well": np.repeat(event.wells or [""], len(levels)),
        "level": np.tile(levels, len(fields)),
    }
    for metrics, prefix in ((event.evaluation, ""), (event.own, "own_")):
        columns |= {
            f"{prefix}{name}": np.ravel(np.array(values, float)) for name, values in metrics.items()
        }
    table = pd.DataFrame(columns)
    return table[table["ssim"].notna()]


def _joined(tables: list[pd.DataFrame]) -> pd.DataFrame:
    return pd.concat(tables, ignore_index=True) if tables else pd.DataFrame()
