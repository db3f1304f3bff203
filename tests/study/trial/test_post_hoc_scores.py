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
from study.trial.post_hoc_scores import answer_question, distance_to_seam, measure_stitching
from study.trial.task import PostHocTask, TrialTask
from study.trial.training import load_model, run_trial

MakeTask = Callable[..., TrialTask]
SPLIT = {
    "family": "split",
    "depth": 1,
    "filters": 4,
    "loss": "l1",
    "image_size": 32,
    "patch_size": 16,
}


def test_the_distance_to_a_seam_by_counting() -> None:
    found = distance_to_seam(12, 4)
    assert found[0].tolist() == [
        3,
        2,
        1,
        0,
        0,
        1,
        1,
        0,
        0,
        1,
        2,
        3,
    ]  # seams before pixels 4 and 8; an image's border is none
    assert found[3].tolist() == [0] * 12
    np.testing.assert_array_equal(found, found.T)


def test_stitching_is_measured_as_it_is_by_hand(make_task: MakeTask, store: Store) -> None:
    task = make_task(hyperparameters=SPLIT, inference="stitched")
    score = list(run_trial(task))[-1].score
    assert score is not None
    every = list(range(len(store.levels)))
    found = measure_stitching(Path(task.folder), store, fields=task.eval_fields, levels=every)
    np.testing.assert_allclose(
        found["ssim"]["stitched"], np.mean(score.own["ssim"], axis=1), atol=1e-6
    )
    whole = make_task(hyperparameters=SPLIT, inference="whole", folder=task.folder + "-whole")
    at_once = list(run_trial(whole))[-1].score
    assert at_once is not None
    np.testing.assert_allclose(
        found["ssim"]["whole"], np.mean(at_once.own["ssim"], axis=1), atol=1e-6
    )
    assert found["ssim"]["stitched"] != found["ssim"]["whole"]
    for mode in (
        "stitched",
        "whole",
    ):  # 8 px of each side of a seam in the middle of 32 px: three quarters of the image
        error = 0.75 * np.array(found["border"][mode]) + 0.25 * np.array(found["inside"][mode])
        weights = np.bincount(distance_to_seam(32, 16).ravel())
        assert np.average(found["profile"][mode], weights=weights) == pytest.approx(error.mean())


def test_a_transfer_scores_the_weights_that_were_left_on_other_images(
    make_task: MakeTask, store: Store, raw_folder: Path, tmp_path: Path
) -> None:
    task = make_task(hyperparameters=SPLIT)
    list(run_trial(task))
    other = prepare(
        DatasetConfig(kind="bbbc006", levels=[11, 16, 21]),
        raw_folder,
        tmp_path,
        resolutions=[Resolution(32, "antialiased")],
    )
    fields = [0, 3]
    asked = PostHocTask(
        "transfer",
        task.folder,
        str(other.folder),
        fields,
        [],
        evaluation_size=32,
        inference="whole",
        eval_split="elsewhere",
        threads=1,
    )
    found = answer_question(asked)
    assert (found["eval_split"], found["levels"], found["fields"]) == (
        "elsewhere",
        [11, 16, 21],
        [other.fields[field] for field in fields],
    )
    image = other.as_float(Resolution(32, "antialiased"), 3, 0)
    restored = load_model(Path(task.folder), size=32).predict_on_batch(image[None, ..., None])[
        0, ..., 0
    ]
    target = other.as_float(Resolution(32, "antialiased"), 3, 1)
    expected = structural_similarity(
        target.astype(float), np.asarray(restored, float), data_range=1.0
    )
    assert found["own"]["ssim"][1][0] == pytest.approx(expected, abs=1e-6)
    assert (Path(task.folder) / "transfer_examples.npz").is_file()


def test_the_bias_of_cells_by_hand() -> None:
    target = np.zeros((1, 8, 8), np.float32)
    target[0, :2] = 0.8
    brighter = np.where(target > 0, target + 0.1, target + 0.4)
    assert cells_bias(target, brighter) == pytest.approx([0.1])


def test_images_that_are_held_out_are_not_trained_on_and_alone_are_scored(
    make_task: MakeTask, store: Store
) -> None:
    held_out = [[index % len(store.levels)] for index in range(len(store.fields))]
    every = list(range(len(store.fields)))
    task = make_task(train_fields=every, eval_fields=every, held_out=held_out)
    score = list(run_trial(task))[-1].score
    assert score is not None
    scored = ~np.isnan(np.array(score.evaluation["ssim"]))
    assert [np.flatnonzero(row).tolist() for row in scored] == held_out
    defocused = [
        (field, level) for field, [level] in enumerate(held_out) if level != store.in_focus_index
    ]
    assert score.summary["ssim"] == pytest.approx(
        np.mean([score.evaluation["ssim"][field][level] for field, level in defocused]), abs=1e-6
    )
    assert store.images(Resolution(32, "antialiased")).shape[:2] == scored.shape
