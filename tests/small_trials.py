"""Trials that take a second or two."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from study.data.splits import split_by_well
from study.data.store import Store
from study.trial.task import EpochReport, Score, TrialTask
from study.trial.training import run_trial

WHOLE = {"family": "whole", "depth": 1, "filters": 4, "loss": "l1", "image_size": 32}
PATCHES = {
    "family": "split",
    "depth": 2,
    "filters": 4,
    "loss": "l2",
    "image_size": 32,
    "patch_size": 16,
}


@dataclass(frozen=True)
class Trained:
    """A trial that was run to its end: its task, all that it reported, and its folder."""

    task: TrialTask
    reports: list[EpochReport]

    @property
    def folder(self) -> Path:
        return Path(self.task.folder)

    @property
    def score(self) -> Score:
        score = self.reports[-1].score
        assert score is not None
        return score


def task_of(store: Store, folder: Path, **changes: Any) -> TrialTask:
    """Return a small task; any of its values can be given."""
    split = split_by_well(store.wells, test=0.2, validation=0.2, seed=0)
    values: dict[str, Any] = {
        "hyperparameters": WHOLE,
        "store": str(store.folder),
        "folder": str(folder),
        "train_fields": split.train,
        "eval_fields": split.validation,
        "eval_split": "validation",
        "resize": "antialiased",
        "evaluation_size": 32,
        "epochs": 2,
        "batch_size": 8,
        "patches_per_image": None,
        "inference": "whole",
        "rung_images": 3,
        "rung_seed": 1,
        "seed": 5,
        "threads": 1,
    }
    return TrialTask(**(values | changes))


def train_small(store: Store, folder: Path, **changes: Any) -> Trained:
    """Run a small task to its end; any of its values can be given."""
    task = task_of(store, folder, **changes)
    return Trained(task, list(run_trial(task)))
