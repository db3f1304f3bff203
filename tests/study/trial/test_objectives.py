from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from study.data.store import Grid, Store
from study.trial.classical import do_nothing
from study.trial.evaluation import rung_score, score_classical
from study.trial.objectives import quality
from study.trial.task import TrialTask
from study.trial.training import run_trial

LEVELS = np.array([4, 4, 7, 7])
METRICS = {
    "ssim": np.array([0.9, 0.7, 0.5, np.nan]),
    "psnr": np.array([30.0, 20.0, 40.0, 44.0]),
    "mse": np.array([0.01, 0.02, 0.03, 0.0]),
    "defocused_mse": np.array([0.02, 0.01, 0.04, 0.0]),  # the last image is in focus: nothing can be done to it
}


@pytest.mark.parametrize(
    ("objective", "weights", "expected"),
    [
        ("ssim", None, 0.7),
        ("ssim", {7: 4}, (0.9 + 0.7 + 4 * 0.5) / 6),
        ("worst_ssim", None, 0.5),
        ("psnr", None, 33.5),
        ("worst_psnr", None, 25.0),
        ("skill", None, (0.5 - 1 + 0.25) / 3),
        ("skill", {4: 0.5}, (0.25 - 0.5 + 0.25) / 2),
    ],
)
def test_objectives_by_hand(objective: str, weights: dict[int, float] | None, expected: float) -> None:
    assert quality(objective, METRICS, LEVELS, weights) == pytest.approx(expected)


def test_doing_nothing_has_no_skill_and_a_network_has_what_it_took_from_the_error(make_task: Callable[..., TrialTask]) -> None:
    task = make_task(objective="skill", epochs=2)
    store = Store(Path(task.store))
    grid = Grid(task.common_size, "antialiased")
    rung = rung_score(
        lambda images: images, store, grid=grid, common=grid, fields=task.judge, images=task.rung_images, seed=0, objective="skill"
    )
    assert rung["objective"] == pytest.approx(0, abs=1e-6)
    score = list(run_trial(task))[-1].score
    assert score is not None
    nothing = score_classical(do_nothing, store, grid=grid, common=grid, fields=task.judge, judged_on="validation")
    network, defocused = (np.array(one.common["mse"])[:, store.defocused_indices] for one in (score, nothing))
    assert score.summary["objective"] == pytest.approx(1 - (network / defocused).mean(), rel=1e-4)
    assert abs(score.summary["objective"]) > 0.01
