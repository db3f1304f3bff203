"""The right shape at the mean scale, against the raw files by hand."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from study.data.prepare import resize_image
from study.data.store import Resolution, Store
from study.files import read_image
from study.trial.evaluation import score_upper_bound
from study.trial.mean_scale import TrainingImages, score_mean_scale

EVALUATION = Resolution(32, "antialiased")
TRAINED, SCORED = [0, 2, 3, 7], [1, 6]


def raw_range(store: Store, raw: Path, size: int, field: int, level: int) -> tuple[float, float]:
    plane = store.planes()[field * len(store.levels) + level]
    image = resize_image(read_image(raw / plane["path"]), Resolution(size, "antialiased"))
    return float(image.min()), float(image.max())


def gain_and_offset(
    store: Store, raw: Path, size: int, field: int, level: int
) -> tuple[float, ...]:
    low, high = raw_range(store, raw, size, field, level)
    focus_low, focus_high = raw_range(store, raw, size, field, store.in_focus_index)
    span = focus_high - focus_low
    return (high - low) / span, (low - focus_low) / span


def test_the_mean_scale_by_hand_from_the_raw_files(store: Store, raw_folder: Path) -> None:
    score = score_mean_scale(
        TrainingImages(store, TRAINED),
        store,
        resolution=EVALUATION,
        evaluation=EVALUATION,
        fields=SCORED,
        eval_split="test",
    )
    for level in store.defocused_indices:
        scales = [gain_and_offset(store, raw_folder, 32, field, level) for field in TRAINED]
        mean_gain, mean_offset = np.mean(scales, axis=0)
        for row, field in enumerate(SCORED):
            plane = store.planes()[field * len(store.levels) + store.in_focus_index]
            sharp = resize_image(read_image(raw_folder / plane["path"]), EVALUATION)
            sharp = sharp.astype(np.float64)
            low, high = raw_range(store, raw_folder, 32, field, level)
            restored = (sharp - low) / (high - low) * mean_gain + mean_offset
            target = (sharp - sharp.min()) / np.ptp(sharp)
            psnr = peak_signal_noise_ratio(target, restored, data_range=1.0)
            ssim = structural_similarity(target, restored, data_range=1.0)
            assert score.evaluation["psnr"][row][level] == pytest.approx(psnr, abs=0.01)
            assert score.evaluation["ssim"][row][level] == pytest.approx(ssim, abs=1e-4)
            assert score.own["psnr"][row][level] == pytest.approx(psnr, abs=0.01)
    assert score.summary["psnr"] < 60  # the scales of these images do differ
    assert np.array(score.evaluation["ssim"])[:, store.in_focus_index] == pytest.approx(1)


def test_where_all_scales_are_the_same_it_is_the_upper_bound(store: Store, tmp_path: Path) -> None:
    same = tmp_path / "store"
    shutil.copytree(store.folder, same)
    for size in (16, 32):
        path = same / f"ranges_antialiased_{size}.npy"
        ranges = np.load(path)
        focus = ranges[:, [store.in_focus_index]]
        gain, offset = np.linspace(0.4, 1, 5)[:, None], np.linspace(0.2, 0, 5)[:, None]
        span = np.ptp(focus, axis=-1, keepdims=True)
        moved = focus[..., :1] + span * (offset + gain * [0, 1])
        moved[:, store.in_focus_index] = focus[:, 0]
        np.save(path, moved)
    on = {
        "resolution": Resolution(16, "antialiased"),
        "evaluation": EVALUATION,
        "fields": SCORED,
        "eval_split": "test",
    }
    equal = Store(same)
    mean_scale = score_mean_scale(TrainingImages(equal, TRAINED), equal, **on)  # type: ignore[arg-type]
    bound = score_upper_bound(equal, **on)  # type: ignore[arg-type]
    for name in ("ssim", "psnr", "mse"):
        np.testing.assert_allclose(
            mean_scale.evaluation[name], bound.evaluation[name], rtol=1e-4, atol=1e-6
        )


def test_means_are_of_the_images_that_are_trained_on(store: Store, raw_folder: Path) -> None:
    held_out: list[list[int]] = [[] for _ in store.fields]
    held_out[0], held_out[3] = [1], [1, 4]
    means = TrainingImages(store, [0, 3, 5], held_out).mean_scales(store, EVALUATION)
    for level, fields in ((0, [0, 3, 5]), (1, [5]), (4, [0, 5])):
        expected = [gain_and_offset(store, raw_folder, 32, field, level) for field in fields]
        np.testing.assert_allclose(means[level], np.mean(expected, axis=0), rtol=1e-6)


def test_levels_of_another_data_set_have_the_mean_over_all_levels(
    store: Store, tmp_path: Path
) -> None:
    shutil.copytree(store.folder, tmp_path / "other")
    description = json.loads((tmp_path / "other" / "store.json").read_text())
    description |= {"kind": "bbbc005", "levels": [1, 14, 17, 20, 48]}
    (tmp_path / "other" / "store.json").write_text(json.dumps(description))
    other = Store(tmp_path / "other")
    training = TrainingImages(store, TRAINED)
    means, own = training.mean_scales(other, EVALUATION), training.mean_scales(store, EVALUATION)
    assert 14 in store.levels  # another thing there: a plane, not a blur
    np.testing.assert_allclose(means[0], [1, 0])
    for index in (1, 4):
        np.testing.assert_allclose(means[index], own[store.defocused_indices].mean(axis=0))
