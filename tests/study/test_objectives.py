from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from study.data.store import Store
from study.objectives import quality
from study.trial.classical import unrestored_input
from study.trial.evaluation import rung_score, score_classical
from tests.small_trials import Trained

LEVELS = np.array([4, 4, 7, 7])
METRICS = {
    "ssim": np.array([0.9, 0.7, 0.5, np.nan]),
    "psnr": np.array([30.0, 20.0, 40.0, 44.0]),
    "mse": np.array([0.01, 0.02, 0.03, 0.5]),
    "defocused_mse": np.array(
        [0.03, 0.01, 0.04, 0.1]
    ),  # harm is done to the second image, not to its level
}


@pytest.mark.parametrize(
    ("objective", "weights", "expected"),
    [
        ("ssim", None, 0.7),
        ("ssim", {7: 4}, (0.9 + 0.7 + 4 * 0.5) / 6),
        ("worst_ssim", None, 0.5),
        ("psnr", None, 33.5),
        ("worst_psnr", None, 25.0),
        ("penalized_ssim", None, 0.7),
        ("penalized_ssim", {7: 4}, (0.9 + 0.7 + 4 * 0.5) / 6),
    ],
)
def test_objectives_by_hand(
    objective: str, weights: dict[int, float] | None, expected: float
) -> None:
    assert quality(objective, METRICS, LEVELS, weights) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("mse", "expected"),
    [([0.02, 0.02, 0.04], 0.0), ([0.03, 0.03, 0.01], 0.5 / 2), ([0.03, 0.03, 0.12], (0.5 + 2) / 2)],
)
def test_harm_is_the_share_by_which_the_error_of_levels_grows(
    mse: list[float], expected: float
) -> None:
    unrestored = np.array([0.03, 0.01, 0.04, 0.0])  # the last image is as good as in focus
    given = METRICS | {
        "mse": np.array([*mse, 0.1]),
        "defocused_mse": unrestored,
        "ssim": np.array([0.9, 0.7, 0.5, 0.5]),
    }
    levels = np.array([4, 4, 7, 10])
    assert quality("penalized_ssim", given, levels) == pytest.approx(0.65 - expected)
    assert quality("ssim", given, levels) == pytest.approx(0.65)


def test_a_network_is_held_against_the_unrestored_input_in_rung_and_score(
    whole_trial: Trained, store: Store
) -> None:
    task = whole_trial.task
    on: dict[str, Any] = {
        "resolution": task.evaluation,
        "evaluation": task.evaluation,
        "fields": task.eval_fields,
    }
    rung: dict[str, Any] = on | {
        "images": task.rung_images,
        "seed": 0,
        "objective": "penalized_ssim",
    }
    unrestored = rung_score(lambda images: images, store, **rung)
    assert unrestored["objective"] == unrestored["ssim"]
    inverted = rung_score(lambda images: 1 - images, store, **rung)
    assert inverted["objective"] < inverted["ssim"] - 1
    left = score_classical(unrestored_input, store, eval_split="validation", **on)
    network, defocused = (
        np.array(score.evaluation["mse"])[:, store.defocused_indices].mean(0)
        for score in (whole_trial.score, left)
    )
    summary = whole_trial.score.summary
    expected = summary["ssim"] - np.maximum(0, network / defocused - 1).mean()
    assert summary["objective"] == pytest.approx(expected, rel=1e-4)
    assert summary["objective"] != summary["ssim"]
