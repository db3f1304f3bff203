from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from skimage import restoration

from study.config import DatasetConfig
from study.data.layouts import bbbc005
from study.data.prepare import prepare
from study.data.store import Resolution, Store
from study.trial.classical import DECONVOLUTIONS, Deconvolution, unrestored_input
from study.trial.deconvolving import choose_parameter, score_deconvolution
from study.trial.evaluation import score_classical

EVALUATION = Resolution(32, "antialiased")
NOTHING = Deconvolution("nothing", "", (0,), lambda image, kernel, values: (image for _ in values))


def test_deconvolution_is_scored_in_the_cameras_intensities(store: Store) -> None:
    parameters = dict.fromkeys(store.levels, 0.0)
    unchanged = score_deconvolution(
        NOTHING,
        store,
        evaluation=EVALUATION,
        fields=[1],
        eval_split="test",
        parameters=parameters,
    )
    reference = score_classical(
        unrestored_input,
        store,
        resolution=EVALUATION,
        evaluation=EVALUATION,
        fields=[1],
        eval_split="test",
    )
    in_focus = store.in_focus_index
    assert unchanged.evaluation["ssim"][0][in_focus] == pytest.approx(1, abs=1e-5)
    assert unchanged.evaluation["ssim"][0][0] != pytest.approx(
        reference.evaluation["ssim"][0][0], abs=1e-3
    )  # that one is normalised by itself
    sharp = score_deconvolution(
        DECONVOLUTIONS["Richardson-Lucy"],
        store,
        evaluation=EVALUATION,
        fields=[1],
        eval_split="test",
        parameters=dict.fromkeys(store.levels, 3),
    )
    assert sharp.summary["psnr"] > unchanged.summary["psnr"]


def test_the_parameter_is_the_one_with_the_best_mean_score_at_its_level(store: Store) -> None:
    method, fields, level = DECONVOLUTIONS["Wiener"], [1, 6], 0
    for metric in ("ssim", "psnr"):
        means = []
        for value in method.grid:
            score = score_deconvolution(
                method,
                store,
                evaluation=EVALUATION,
                fields=fields,
                eval_split="validation",
                parameters={store.levels[level]: value},
                held_out=[[level]] * len(store.fields),
            )
            means.append(np.array(score.evaluation[metric])[:, level].mean())
        chosen = choose_parameter(
            method, store, evaluation=EVALUATION, fields=fields, level=level, metric=metric
        )
        assert chosen == method.grid[int(np.argmax(means))]


@pytest.mark.realdata
def test_a_fixed_balance_is_a_straw_man_on_real_images(realdata: Path, tmp_path: Path) -> None:
    """Balance .001 without padding, as it was, against the one chosen on other scenes."""
    raw, evaluation = tmp_path / "raw", Resolution(128, "antialiased")
    bbbc005.simulate(raw, wells=6, from_sharp=realdata / "bbbc005")
    dataset = DatasetConfig(kind="bbbc005", levels=[1, 23, 48])
    store = prepare(dataset, raw, tmp_path / "stores", resolutions=[evaluation])

    def fixed_balance(image: np.ndarray, kernel: np.ndarray, _: object) -> object:
        yield restoration.wiener(image, kernel, balance=1e-3, clip=False)

    fixed = Deconvolution("fixed", "", (0,), fixed_balance)  # type: ignore[arg-type]
    tuned, chosen = DECONVOLUTIONS["Wiener"], {}
    for level in store.defocused_indices:
        chosen[store.levels[level]] = choose_parameter(
            tuned, store, evaluation=evaluation, fields=[0, 2, 4], level=level, metric="psnr"
        )
    assert all(0.01 < value < 10 for value in chosen.values())
    psnr = {}
    for method, parameters in ((fixed, {23: 0.0, 48: 0.0}), (tuned, chosen)):
        score = score_deconvolution(
            method,
            store,
            evaluation=evaluation,
            fields=[1, 3, 5],
            eval_split="test",
            parameters=parameters,
        )
        psnr[method.name] = dict(zip(score.levels, score.level_means("psnr"), strict=True))
    assert psnr["Wiener"][23] > max(30, psnr["fixed"][23] + 8)
    assert psnr["Wiener"][48] > max(22, psnr["fixed"][48] + 10)
