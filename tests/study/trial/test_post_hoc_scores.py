from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from skimage.metrics import structural_similarity

from study.config import DatasetConfig
from study.data.prepare import prepare
from study.data.store import Resolution, Store
from study.trial.evaluation import cells_bias
from study.trial.inference import load_model
from study.trial.post_hoc_scores import answer_question, distance_to_seam, measure_stitching
from study.trial.task import PostHocTask
from tests.small_trials import Trained


def test_the_distance_to_a_seam_by_counting() -> None:
    distance = distance_to_seam(12, 4)
    # seams before pixels 4 and 8; an image's border is none
    assert "".join(map(str, distance[0])) == "321001100123"
    assert distance[3].tolist() == [0] * 12
    np.testing.assert_array_equal(distance, distance.T)


def test_stitching_is_measured_as_it_is_by_hand(patch_trial: Trained, store: Store) -> None:
    fields, every = patch_trial.task.eval_fields, list(range(len(store.levels)))
    measured = measure_stitching(patch_trial.folder, store, fields=fields, levels=every)
    whole = np.mean(patch_trial.score.own["ssim"], axis=1)
    np.testing.assert_allclose(measured["ssim"]["whole"], whole, atol=1e-6)
    model, resolution = load_model(patch_trial.folder), Resolution(32, "antialiased")
    for field, ssim in zip(fields, measured["ssim"]["stitched"], strict=True):
        target = store.as_float(resolution, field, store.in_focus_index).astype(float)
        scores = []
        for level in every:
            image, restored = store.as_float(resolution, field, level), np.empty((32, 32))
            for row, column in ((0, 0), (0, 16), (16, 0), (16, 16)):
                window = np.s_[row : row + 16, column : column + 16]
                patch = model.predict_on_batch(image[window][None, ..., None])
                restored[window] = np.asarray(patch)[0, ..., 0]
            scores.append(structural_similarity(target, restored, data_range=1.0))
        assert ssim == pytest.approx(np.mean(scores), abs=1e-6)
    assert measured["ssim"]["stitched"] != measured["ssim"]["whole"]
    # 8 px of each side of a seam in the middle of 32 px: three quarters of the image
    weights = np.bincount(distance_to_seam(32, 16).ravel())
    for mode in ("stitched", "whole"):
        error = 0.75 * np.array(measured["border"][mode])
        error += 0.25 * np.array(measured["inside"][mode])
        profile = np.average(measured["profile"][mode], weights=weights)
        assert profile == pytest.approx(error.mean())


def test_a_transfer_scores_the_weights_that_were_left_on_other_images(
    patch_trial: Trained, raw_folder: Path, tmp_path: Path
) -> None:
    resolution = Resolution(32, "antialiased")
    dataset = DatasetConfig(kind="bbbc006", levels=[11, 16, 21])
    other = prepare(dataset, raw_folder, tmp_path, resolutions=[resolution])
    fields = [0, 3]
    task = PostHocTask(
        "transfer",
        str(patch_trial.folder),
        str(other.folder),
        fields,
        [],
        evaluation_size=32,
        inference="whole",
        eval_split="elsewhere",
        threads=1,
    )
    answer = answer_question(task)
    assert (answer["eval_split"], answer["levels"]) == ("elsewhere", [11, 16, 21])
    assert answer["fields"] == [other.fields[field] for field in fields]
    model, image = load_model(patch_trial.folder, size=32), other.as_float(resolution, 3, 0)
    restored = np.asarray(model.predict_on_batch(image[None, ..., None]))[0, ..., 0].astype(float)
    target = other.as_float(resolution, 3, 1).astype(float)
    expected = structural_similarity(target, restored, data_range=1.0)
    assert answer["own"]["ssim"][1][0] == pytest.approx(expected, abs=1e-6)
    assert (patch_trial.folder / "transfer_examples.npz").is_file()


def test_the_bias_of_cells_by_hand() -> None:
    target = np.zeros((1, 8, 8), np.float32)
    target[0, :2] = 0.8
    brighter = np.where(target > 0, target + 0.1, target + 0.4)
    assert cells_bias(target, brighter) == pytest.approx([0.1])


def test_images_that_are_held_out_are_not_trained_on_and_alone_are_scored(
    train: Callable[..., Trained], store: Store
) -> None:
    held_out = [[index % len(store.levels)] for index in range(len(store.fields))]
    every = list(range(len(store.fields)))
    score = train(train_fields=every, eval_fields=every, held_out=held_out, epochs=1).score
    scored = ~np.isnan(np.array(score.evaluation["ssim"]))
    assert [np.flatnonzero(row).tolist() for row in scored] == held_out
    defocused = [
        (field, level) for field, [level] in enumerate(held_out) if level != store.in_focus_index
    ]
    assert score.summary["ssim"] == pytest.approx(
        np.mean([score.evaluation["ssim"][field][level] for field, level in defocused]), abs=1e-6
    )
    assert store.images(Resolution(32, "antialiased")).shape[:2] == scored.shape
