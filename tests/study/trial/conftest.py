"""Two small trials that were run to their end, for tests that only read them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from study.data.store import Store
from study.trial.task import EpochReport, Score, TrialTask
from study.trial.training import run_trial
from tests.conftest import task_of

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


@pytest.fixture(scope="session")
def train(store: Store, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Trained]:
    """Run a small trial in a folder of its own; any value of its task can be given."""

    def run(**changes: Any) -> Trained:
        task = task_of(store, tmp_path_factory.mktemp("trial"), **changes)
        return Trained(task, list(run_trial(task)))

    return run


@pytest.fixture(scope="session")
def whole_trial(train: Callable[..., Trained]) -> Trained:
    """Three epochs on whole images."""
    return train(epochs=3, objective="penalized_ssim")


@pytest.fixture(scope="session")
def patch_trial(train: Callable[..., Trained]) -> Trained:
    """Two epochs on two patches an image, scored on whole images."""
    return train(hyperparameters=PATCHES, patches_per_image=2)
