"""Pairs that are normalised by the range of the defocused image: nothing hidden scales a target."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from study.config import DatasetConfig, StudyConfig
from study.data.batches import EpochBatches, relight
from study.data.prepare import resize_image
from study.data.store import Resolution, Store
from study.files import read_image
from study.models.autoencoder import build
from study.record.identities import ReferenceRole
from study.trial.classical import unrestored_input
from study.trial.evaluation import (
    defocused_mse,
    rung_score,
    score_classical,
    score_model,
    score_upper_bound,
)
from study.trial.examples import save_examples
from study.trial.inference import load_model
from study.trial.mean_scale import TrainingImages
from study.trial.post_hoc_scores import measure_stitching
from study.trial.restoring import Restorer, as_type, load_restorer
from study.tune.tasks import make_task
from study.workflow.reference_scores import score_references
from tests.small_trials import PATCHES, WHOLE, Trained

SMALL, LARGE = Resolution(16, "antialiased"), Resolution(32, "antialiased")


@pytest.fixture(scope="module")
def pairs(store: Store) -> Store:
    """The images of the store as pairs."""
    return Store(store.folder, normalisation="pair")


def raw(store: Store, folder: Path, field: int, level: int, resolution: Resolution) -> np.ndarray:
    """Return an image in the camera's intensities, read from its file."""
    row = store.planes()[field * len(store.levels) + level]
    return resize_image(read_image(folder / row["path"]), resolution).astype(np.float64)


def perfect(store: Store, resolution: Resolution, field: int) -> Callable[..., np.ndarray]:
    """Return what restores a field exactly, in units of the image that it is given: in intensities
    the image in focus, by the range of the one out of focus.
    """
    ranges, focus = np.array(store.ranges(resolution))[field], store.in_focus_index
    sharp = store.as_float(resolution, field, focus).astype(np.float64)
    sharp = sharp * np.ptp(ranges[focus]) + ranges[focus, 0]
    known = [store.as_float(resolution, field, level) for level in range(len(store.levels))]

    def restore(images: np.ndarray) -> np.ndarray:
        levels = [
            next(at for at, one in enumerate(known) if np.array_equal(one, image))
            for image in images
        ]
        low, span = ranges[levels, 0], np.ptp(ranges[levels], axis=1)
        restored = (sharp[None] - low[:, None, None]) / span[:, None, None]
        return np.asarray(restored, np.float32)

    return restore


def test_units_by_hand() -> None:
    ranges = np.array([[[0.0, 100.0], [10.0, 30.0]]])  # in focus, and out of focus

    class Two(Store):
        def __init__(self, normalisation: str) -> None:
            self.normalisation = normalisation

        in_focus_index = 0

        def ranges(self, resolution: Resolution) -> np.ndarray:
            return ranges

    images = np.full((1, 2, 2), 0.5, np.float32)  # an intensity of 20
    paired = Two("pair").in_focus_units(images, SMALL, [0], [1])
    np.testing.assert_allclose(paired, 0.2, rtol=1e-6)
    assert Two("own").in_focus_units(images, SMALL, [0], [1]) is images


def test_the_unrestored_input_is_scored_in_its_intensities(pairs: Store, raw_folder: Path) -> None:
    field, focus = 4, pairs.in_focus_index
    on: dict[str, Any] = {"resolution": SMALL, "evaluation": LARGE, "fields": [field]}
    score = score_classical(unrestored_input, pairs, eval_split="test", **on)
    sharp = raw(pairs, raw_folder, field, focus, LARGE)
    target = (sharp - sharp.min()) / np.ptp(sharp)
    for level in pairs.defocused_indices:
        image = raw(pairs, raw_folder, field, level, LARGE)
        image = (image - sharp.min()) / np.ptp(sharp)
        expected = (
            structural_similarity(target, image, data_range=1.0),
            peak_signal_noise_ratio(target, image, data_range=1.0),
        )
        assert score.evaluation["ssim"][0][level] == pytest.approx(expected[0], abs=1e-4)
        assert score.evaluation["psnr"][0][level] == pytest.approx(expected[1], abs=1e-2)
        assert defocused_mse(pairs, LARGE, [(field, level)])[0] == pytest.approx(
            np.mean((target - image) ** 2), rel=1e-3
        )


def test_a_perfect_network_scores_the_upper_bound(pairs: Store, tmp_path: Path) -> None:
    on: dict[str, Any] = {"resolution": SMALL, "evaluation": LARGE, "fields": [4]}
    restore = perfect(pairs, SMALL, 4)
    bound = score_upper_bound(pairs, eval_split="test", **on)
    score = score_model(restore, pairs, eval_split="test", **on)
    for name in ("ssim", "psnr", "nrmse", "si_ssim"):
        np.testing.assert_allclose(score.evaluation[name], bound.evaluation[name], rtol=1e-4)
    np.testing.assert_allclose(score.own["ssim"], 1, atol=1e-6)
    rung = rung_score(restore, pairs, images=4, seed=0, **on)
    assert rung["ssim"] == pytest.approx(bound.summary["ssim"], rel=1e-4)
    left = score_model(lambda images: images, pairs, eval_split="test", **on)
    assert np.max(left.own["mse"]) > 1e-4 > np.max(score.own["mse"])
    save_examples(tmp_path / "examples.npz", restore, pairs, SMALL, fields=[4])
    with np.load(tmp_path / "examples.npz", allow_pickle=False) as examples:
        wrong = examples["restored"].astype(int) - examples["in_focus"]
        assert np.abs(wrong).max() <= 1


def batches(store: Store, **how: Any) -> EpochBatches:
    return EpochBatches(
        store,
        LARGE,
        fields=[1],
        patch_size=32,
        patches_per_image=None,
        batch_size=4,
        seed=0,
        epoch=0,
        **how,
    )


def test_a_batch_holds_both_images_in_units_of_the_defocused_one(
    pairs: Store, store: Store
) -> None:
    defocused, sharp, weights = batches(pairs, weigh_near_focus=True)[0]
    own_defocused, _, _ = batches(store, weigh_near_focus=True)[0]
    np.testing.assert_array_equal(defocused, own_defocused)
    ranges, focus = np.array(pairs.ranges(LARGE))[1], pairs.in_focus_index
    levels = [
        next(
            level
            for level in pairs.defocused_indices
            if np.array_equal(pairs.as_float(LARGE, 1, level), image[..., 0])
        )
        for image in defocused
    ]
    assert sharp.max() > 1.05  # a blurred image has the smaller range
    for image, target, weight, level in zip(defocused, sharp, weights, levels, strict=True):
        counts = target[..., 0] * np.ptp(ranges[level]) + ranges[level, 0]
        expected = pairs.as_float(LARGE, 1, focus) * np.ptp(ranges[focus]) + ranges[focus, 0]
        np.testing.assert_allclose(counts, expected, atol=np.ptp(ranges[focus]) * 1e-5)
        distance = np.sqrt(np.mean((image.astype(np.float64) - target) ** 2))
        assert weight == pytest.approx(1 / (distance + 1e-3), rel=1e-4)


def test_light_is_added_to_both_and_taken_out_by_the_defocused_crop() -> None:
    # intensities: out of focus 0 to 50, in focus 0 to 100, so their ratio is 2; light of 10
    defocused, sharp = np.array([[[0, 0.2], [0.4, 1]], [[0.0, 0.1], [0.6, 2]]], np.float32)
    light = np.full((2, 2), 0.1, np.float32)
    light[0, 0] = 0
    lit = relight(np.stack([defocused, sharp]), light, ratio=2.0, normalisation="pair")
    counts = np.array([[[0, 20], [30, 60]], [[0, 15], [40, 110]]])
    np.testing.assert_allclose(lit, counts / 60, atol=1e-6)


def test_an_identity_in_pair_returns_the_image_and_nothing_is_cut() -> None:
    image = np.random.default_rng(0).integers(100, 4000, (32, 32)).astype(np.uint16)
    same = Restorer(lambda images: images, LARGE, "pair").restore(image)
    np.testing.assert_array_equal(as_type(same, image.dtype), image)
    doubled = Restorer(lambda images: 2 * images - 0.5, LARGE, "pair").restore(image)
    low, span = float(image.min()), float(np.ptp(image))
    expected = 2 * (image - low) - 0.5 * span + low
    np.testing.assert_allclose(doubled, expected, atol=0.1)
    assert as_type(doubled, image.dtype).min() == 0
    assert Restorer(lambda images: 2 * images, LARGE).restore(image).max() == image.max()


@pytest.mark.parametrize("family", [WHOLE, PATCHES])
def test_networks_end_in_a_linear_layer_and_a_trial_says_what_it_was(
    family: dict[str, Any], train: Callable[..., Trained], pairs: Store
) -> None:
    trained = train(hyperparameters=family, normalisation="pair", epochs=1)
    model = load_model(trained.folder)
    assert model.layers[-1].activation.__name__ == "linear"
    assert build(family).layers[-1].activation.__name__ == "sigmoid"
    restorer = load_restorer(trained.folder)
    assert restorer.normalisation == "pair"
    field = trained.task.eval_fields[0]
    again = score_model(
        lambda images: np.asarray(restorer.predict(images[..., None]))[..., 0],
        pairs,
        resolution=LARGE,
        evaluation=LARGE,
        fields=[field],
        eval_split="validation",
    )
    np.testing.assert_allclose(
        again.evaluation["ssim"][0], trained.score.evaluation["ssim"][0], atol=1e-5
    )
    if family is PATCHES:
        seams = measure_stitching(trained.folder, pairs, fields=[field], levels=[0])
        assert seams["ssim"]["whole"][0] == pytest.approx(again.own["ssim"][0][0], abs=1e-5)


def test_a_study_of_pairs_asks_for_them_and_has_no_row_of_the_mean_scale(pairs: Store) -> None:
    sizes = dataclasses.replace(StudyConfig().sizes, whole=[16], split=32, patches=[16])
    config = StudyConfig(
        dataset=DatasetConfig(normalisation="pair"),
        sizes=sizes,
        evaluation=dataclasses.replace(StudyConfig().evaluation, resolution=32),
    )
    task = make_task(
        config,
        pairs,
        hyperparameters=WHOLE,
        folder="",
        train_fields=[],
        eval_fields=[],
        eval_split="test",
        rung_images=0,
        seed=0,
    )
    assert (task.normalisation, task.output_activation) == ("pair", "linear")
    scored = {
        reference.role: score
        for reference, score in score_references(
            config, pairs, [4], "test", training=TrainingImages(pairs, [1]), skip=()
        )
    }
    assert ReferenceRole.MEAN_SCALE not in scored
    assert ReferenceRole.UPPER_BOUND in scored
