from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from study.data.store import Store
from study.trial.steps import steps_a_pass, steps_an_epoch
from study.trial.task import TrialTask
from study.trial.training import epoch_batches

PATCHED = {
    "family": "split",
    "depth": 1,
    "filters": 4,
    "growth": 1,
    "loss": "l1",
    "image_size": 64,
    "patch_size": 16,
}
EVERY_FOURTH = [[0, 4] if field % 2 else [] for field in range(10)]


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"batch_size": 5},
        {"images_per_epoch": 7},
        {"images_per_epoch": 10_000},
        {"held_out": EVERY_FOURTH},
        {"hyperparameters": PATCHED},
        {"hyperparameters": PATCHED, "patches_per_image": 3},
        {"hyperparameters": PATCHED | {"batch_size": 3}, "images_per_epoch": 5},
    ],
)
def test_an_epoch_has_as_many_steps_as_batches(
    changes: dict[str, Any], make_task: Callable[..., TrialTask], store: Store
) -> None:
    task = make_task(**changes)
    assert steps_an_epoch(task, store) == len(epoch_batches(task, store, epoch=0))
    whole = make_task(**changes | {"images_per_epoch": None})
    assert steps_a_pass(task, store) == len(epoch_batches(whole, store, epoch=0))
