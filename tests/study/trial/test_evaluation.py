from __future__ import annotations

from collections import Counter

import cv2
import numpy as np
import pytest
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from study.data.prepare import resize_image
from study.data.store import Resolution, Store
from study.files import read_image
from study.trial.classical import best_affine_fit, unrestored_input
from study.trial.evaluation import (
    rung_score,
    score_classical,
    score_model,
    score_upper_bound,
    to_evaluation_resolution,
)
from study.trial.inference import restore_patchwise

EVALUATION = Resolution(32, "antialiased")


def raw_at(store: Store, raw_folder: object, field: int, level: int) -> np.ndarray:
    row = store.planes()[field * len(store.levels) + level]
    return resize_image(read_image(raw_folder / row["path"]), EVALUATION)  # type: ignore[operator]


def scaled(image: np.ndarray) -> np.ndarray:
    return (image - image.min()) / np.ptp(image)


def test_the_unrestored_input_against_scikit_image_from_the_raw_files(
    store: Store, raw_folder: object
) -> None:
    fields = [1, 6]
    score = score_classical(
        unrestored_input,
        store,
        resolution=EVALUATION,
        evaluation=EVALUATION,
        fields=fields,
        eval_split="test",
    )
    for index in range(len(store.levels)):
        pairs = [
            (
                scaled(raw_at(store, raw_folder, f, store.in_focus_index)),
                scaled(raw_at(store, raw_folder, f, index)),
            )
            for f in fields
        ]
        ssim = np.mean(
            [
                structural_similarity(x.astype(float), y.astype(float), data_range=1.0)
                for x, y in pairs
            ]
        )
        assert np.mean(score.evaluation["ssim"], axis=0)[index] == pytest.approx(ssim, abs=1e-4)
        if index != store.in_focus_index:
            psnr = np.mean([peak_signal_noise_ratio(x, y, data_range=1.0) for x, y in pairs])
            assert np.mean(score.evaluation["psnr"], axis=0)[index] == pytest.approx(psnr, abs=1e-2)
    assert np.mean(score.evaluation["ssim"], axis=0)[store.in_focus_index] == pytest.approx(1)
    defocused = store.defocused_indices
    assert score.summary["ssim"] == pytest.approx(
        np.array(score.evaluation["ssim"])[:, defocused].mean()
    )
    assert score.fields == [store.fields[field] for field in fields]


def perfect(store: Store, resolution: Resolution, field: int) -> object:
    return lambda images: np.repeat(
        store.as_float(resolution, field, store.in_focus_index)[None], len(images), axis=0
    )


def test_a_perfect_restoration_is_perfect_at_its_size_and_nearly_so_at_the_evaluation_resolution(
    store: Store,
) -> None:
    for size in (16, 32, 64):
        resolution = Resolution(size, "antialiased")
        score = score_model(
            perfect(store, resolution, 4),
            store,
            resolution=resolution,
            evaluation=EVALUATION,
            fields=[4],
            eval_split="test",
        )  # type: ignore[arg-type]
        np.testing.assert_allclose(score.own["ssim"], 1, atol=1e-6)
        assert np.min(score.evaluation["psnr"]) > {16: 15, 32: 85, 64: 40}[size]
    assert np.max(score.own["ssim_range2"]) <= 1 + 1e-6


def test_the_upper_bound_is_the_score_of_a_perfect_restoration(store: Store) -> None:
    for size in (16, 64):
        resolution = Resolution(size, "antialiased")
        upper_bound = score_upper_bound(
            store, resolution=resolution, evaluation=EVALUATION, fields=[4], eval_split="test"
        )
        score = score_model(
            perfect(store, resolution, 4),
            store,
            resolution=resolution,
            evaluation=EVALUATION,
            fields=[4],
            eval_split="test",
        )  # type: ignore[arg-type]
        np.testing.assert_allclose(
            upper_bound.evaluation["ssim"], score.evaluation["ssim"], atol=1e-9
        )
        np.testing.assert_allclose(
            upper_bound.evaluation["psnr"], score.evaluation["psnr"], atol=1e-6
        )


def test_best_affine_fit_against_numpys_least_squares() -> None:
    rng = np.random.default_rng(0)
    defocused, target = rng.random((3, 9, 8)), rng.random((3, 9, 8))
    defocused[2] = 0.5  # a flat image has no gain
    fitted = best_affine_fit(defocused, target)
    for index in range(2):
        gain, offset = np.polyfit(defocused[index].ravel(), target[index].ravel(), 1)
        np.testing.assert_allclose(fitted[index], gain * defocused[index] + offset, atol=1e-6)
    np.testing.assert_allclose(fitted[2], target[2].mean(), atol=1e-6)


def test_the_evaluation_resolution_is_reached_through_the_stored_intensities() -> None:
    raw = np.random.default_rng(0).uniform(100, 900, (1, 64, 64)).astype(np.float32)
    low, high = raw.min(), raw.max()
    coarse = cv2.resize(raw[0], (32, 32), interpolation=cv2.INTER_AREA)
    ranges = np.array([[low, high]]), np.array([[coarse.min(), coarse.max()]])
    converted = to_evaluation_resolution((raw - low) / (high - low), *ranges, EVALUATION)
    np.testing.assert_allclose(converted[0], scaled(coarse), atol=1e-5)


def test_restoring_patch_by_patch_is_restoring_for_a_pointwise_network(store: Store) -> None:
    images = store.as_float(Resolution(64, "antialiased"), 0, np.array([0, 1]))
    seen = []

    def predict(x: np.ndarray) -> np.ndarray:
        seen.append(x.shape)
        return 1 - x

    np.testing.assert_array_equal(restore_patchwise(predict, 16)(images), 1 - images)
    assert seen == [(2 * 16, 16, 16, 1)]


def test_the_rung_score_is_on_the_same_images_for_all_and_of_the_stated_number(
    store: Store,
) -> None:
    calls: list[bytes] = []

    def restore(images: np.ndarray) -> np.ndarray:
        calls.extend(image.tobytes() for image in images)
        return images

    first = rung_score(
        restore,
        store,
        resolution=EVALUATION,
        evaluation=EVALUATION,
        fields=[0, 1, 2],
        images=7,
        seed=3,
    )
    assert len(set(calls)) == 7
    again = rung_score(
        lambda images: images,
        store,
        resolution=EVALUATION,
        evaluation=EVALUATION,
        fields=[0, 1, 2],
        images=7,
        seed=3,
    )
    assert first == again
    assert first != rung_score(
        lambda images: images,
        store,
        resolution=EVALUATION,
        evaluation=EVALUATION,
        fields=[0, 1, 2],
        images=7,
        seed=4,
    )


@pytest.mark.parametrize("images", [1, 3, 4, 7, 12, 50])
@pytest.mark.parametrize("seed", range(5))
def test_no_level_comes_twice_into_the_rung_score_before_all_have_come_once(
    store: Store, images: int, seed: int
) -> None:
    calls: list[bytes] = []

    def restore(defocused: np.ndarray) -> np.ndarray:
        calls.extend(image.tobytes() for image in defocused)
        return defocused

    rung_score(
        restore,
        store,
        resolution=EVALUATION,
        evaluation=EVALUATION,
        fields=[0, 1, 2],
        images=images,
        seed=seed,
    )
    of_level = {
        store.as_float(EVALUATION, field, level).tobytes(): level
        for field in (0, 1, 2)
        for level in store.defocused_indices
    }
    assert len(calls) == len(set(calls)) == min(images, len(of_level))
    drawn = Counter(of_level[call] for call in calls)
    counts = [drawn[level] for level in store.defocused_indices]
    assert max(counts) - min(counts) <= 1
