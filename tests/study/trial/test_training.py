from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from study.data.store import Store
from study.errors import TrialFailed
from study.models.losses import LOSSES
from study.trial.task import EpochReport, TrialTask
from study.trial.timing import time_steps
from study.trial.training import (
    STOPPED,
    compile_model,
    epoch_batches,
    load_model,
    restorer,
    run_trial,
)

MakeTask = Callable[..., TrialTask]


def numbers(reports: list[EpochReport]) -> list[dict[str, float]]:
    return [
        {
            name: value
            for name, value in report.metrics.items()
            if name not in ("seconds", "rung_seconds")
        }
        for report in reports
    ]


def test_a_trial_reports_every_epoch_and_scores_after_the_last(make_task: MakeTask) -> None:
    reports = list(run_trial(make_task(epochs=3)))
    assert [report.epoch for report in reports] == [1, 2, 3]
    assert [report.score is None for report in reports] == [True, True, False]
    assert reports[2].metrics["loss"] < reports[0].metrics["loss"]
    assert set(reports[0].metrics) == {
        "loss",
        "learning_rate",
        "seconds",
        "ssim",
        "psnr",
        "objective",
        "rung_seconds",
    }
    assert reports[0].cost["parameters"] == 4 * 9 + 4 + 4 * 4 * 9 + 4 + 4 * 9 + 1


def test_same_seed_same_numbers_and_another_seed_others(
    make_task: MakeTask, tmp_path: Path
) -> None:
    first = numbers(list(run_trial(make_task(folder=str(tmp_path / "a")))))
    assert numbers(list(run_trial(make_task(folder=str(tmp_path / "b"))))) == first
    assert numbers(list(run_trial(make_task(folder=str(tmp_path / "c"), seed=6)))) != first


def test_an_interrupted_trial_goes_on_with_the_same_numbers(
    make_task: MakeTask, tmp_path: Path
) -> None:
    straight = list(run_trial(make_task(folder=str(tmp_path / "a"), epochs=4)))
    trial = run_trial(make_task(folder=str(tmp_path / "b"), epochs=4))
    heard = [next(trial), next(trial), next(trial)]
    trial.close()  # the third report was heard, its checkpoint not written
    resumed = list(run_trial(make_task(folder=str(tmp_path / "b"), epochs=4)))
    assert [report.epoch for report in resumed] == [3, 4]
    assert numbers(heard[:2] + resumed) == numbers(straight)
    assert resumed[-1].score == straight[-1].score


def test_patches_are_trained_and_either_inference_scores_them(
    make_task: MakeTask, tmp_path: Path
) -> None:
    hyperparameters = {
        "family": "split",
        "depth": 2,
        "filters": 4,
        "loss": "l2",
        "image_size": 64,
        "patch_size": 16,
    }
    scores = {}
    for inference in ("whole", "stitched"):
        task = make_task(
            hyperparameters=hyperparameters,
            inference=inference,
            folder=str(tmp_path / inference),
            patches_per_image=2,
        )
        scores[inference] = list(run_trial(task))[-1].score
    assert scores["whole"] is not None
    assert scores["stitched"] is not None
    assert scores["whole"].summary != scores["stitched"].summary  # the border effect


def test_the_weights_left_behind_restore_as_the_trial_did(
    make_task: MakeTask, tmp_path: Path
) -> None:
    task = make_task()
    list(run_trial(task))
    folder = Path(task.folder)
    assert sorted(path.name for path in folder.iterdir()) == [
        "checkpoint.npz",
        "examples.npz",
        "model.json",
        "weights.npz",
    ]
    with np.load(folder / "examples.npz", allow_pickle=False) as examples:
        restored = load_model(folder).predict_on_batch(
            examples["defocused"][..., None] / np.float32(255)
        )
        assert np.abs(restored[..., 0] * 255 - examples["restored"]).max() < 1.6
    assert (
        json.loads((folder / "model.json").read_text())["hyperparameters"] == task.hyperparameters
    )


def test_a_lack_of_memory_fails_the_trial_wherever_it_is_met(
    make_task: MakeTask, monkeypatch: pytest.MonkeyPatch
) -> None:
    def too_large(*arguments: object, **options: object) -> None:
        raise tf.errors.ResourceExhaustedError(None, None, "OOM when allocating tensor")

    for place in ("rung_score", "score_model", "_train_epoch"):
        with monkeypatch.context() as patched:
            patched.setattr(f"study.trial.training.{place}", too_large)
            with pytest.raises(TrialFailed, match="out of memory in epoch 1"):
                list(run_trial(make_task(epochs=1)))


def test_a_loss_that_is_not_finite_fails_the_trial(
    make_task: MakeTask, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(
        LOSSES, "l1", lambda reference, restored: LOSSES["l2"](reference, restored) / 0.0
    )
    with pytest.raises(TrialFailed, match=r"diverged: the loss of epoch 1 is (nan|inf)"):
        list(run_trial(make_task()))


def test_mean_weights_are_what_is_judged_and_kept_while_training_goes_on_with_its_own(
    make_task: MakeTask, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("study.trial.training.EMA_STEPS", 0)
    hyperparameters = {
        "family": "unet",
        "depth": 1,
        "unet_filters": 4,
        "growth": 1,
        "convolutions": 1,
        "kernel": 3,
        "activation": "relu",
        "normalisation": "batch",
        "skip": "add",
        "residual": True,
        "upsampling": "resize",
        "dropout": 0.1,
        "image_size": 32,
        "crop_size": 16,
        "loss": "l1",
        "learning_rate": 3e-3,
        "schedule": "cosine",
        "weight_decay": 1e-4,
        "batch_size": 4,
        "augment": True,
        "augment_light": True,
        "relative_loss": True,
        "weigh_near_focus": True,
        "global_context": True,
    }
    plain = list(
        run_trial(
            make_task(
                hyperparameters=hyperparameters | {"ema": False}, folder=str(tmp_path / "plain")
            )
        )
    )
    mean = list(
        run_trial(
            make_task(
                hyperparameters=hyperparameters | {"ema": True}, folder=str(tmp_path / "mean")
            )
        )
    )
    assert [report.metrics["loss"] for report in mean] == [
        report.metrics["loss"] for report in plain
    ]
    assert [report.metrics["ssim"] for report in mean] != [
        report.metrics["ssim"] for report in plain
    ]
    task = make_task(
        hyperparameters=hyperparameters | {"ema": True}, folder=str(tmp_path / "again")
    )
    reports = run_trial(task)
    first = next(reports)
    reports.close()  # before its checkpoint: it is done again, and gives the same numbers
    resumed = list(run_trial(task))
    assert [report.metrics["ssim"] for report in (first, *resumed)][-2:] == [
        report.metrics["ssim"] for report in mean
    ]


@pytest.mark.parametrize("switch", ["relative_loss", "augment_light", "weigh_near_focus"])
def test_a_switch_of_the_training_reaches_it(
    switch: str, make_task: MakeTask, tmp_path: Path
) -> None:
    hyperparameters = {
        "family": "unet",
        "depth": 1,
        "unet_filters": 4,
        "growth": 1,
        "convolutions": 1,
        "kernel": 3,
        "activation": "relu",
        "normalisation": "none",
        "skip": "none",
        "residual": True,
        "upsampling": "resize",
        "dropout": 0.0,
        "image_size": 32,
        "crop_size": 16,
        "loss": "l1",
    }
    losses = {}
    for value in (None, False, True):
        changed = hyperparameters if value is None else hyperparameters | {switch: value}
        losses[value] = next(
            run_trial(make_task(hyperparameters=changed, folder=str(tmp_path / str(value))))
        ).metrics["loss"]
    assert losses[None] == losses[False] != losses[True]


def test_steps_are_timed_without_leaving_anything(make_task: MakeTask) -> None:
    task = make_task()
    timed = time_steps(task)
    store = Store(Path(task.store))
    assert timed["steps_per_epoch"] == -(
        -len(task.train_fields) * len(store.defocused_indices) // task.batch_size
    )
    assert timed["seconds_per_step"] > 0
    assert not Path(task.folder).exists()


def test_half_precision_trains_a_network_that_restores_in_float32(
    make_task: MakeTask, tmp_path: Path
) -> None:
    tasks = [
        make_task(precision=precision, folder=str(tmp_path / precision), epochs=2)
        for precision in ("float32", "mixed_bfloat16")
    ]
    half, full = (
        compile_model(tasks[1], Store(Path(tasks[1].store))),
        compile_model(tasks[0], Store(Path(tasks[0].store))),
    )
    assert {layer.compute_dtype for layer in half.layers[1:-1]} == {"bfloat16"}
    assert {str(weight.dtype) for weight in half.weights} == {"float32"}
    assert half.layers[-1].compute_dtype == full.layers[1].compute_dtype == "float32"
    reports = [list(run_trial(task)) for task in tasks]
    assert (
        reports[0][0].metrics["loss"] != reports[1][0].metrics["loss"]
    )  # it did compute otherwise
    assert reports[0][-1].metrics["ssim"] == pytest.approx(reports[1][-1].metrics["ssim"], abs=0.02)
    model, images = (
        load_model(Path(tasks[1].folder)),
        np.random.default_rng(0).random((2, *full.input_shape[1:])).astype(np.float32),
    )
    half.set_weights(model.get_weights())
    restored = restorer(half, tasks[1].hyperparameters, inference="whole")(images[..., 0])
    np.testing.assert_array_equal(
        restored, model.predict_on_batch(images)[..., 0]
    )  # float32, not rounded to eight bits


def test_a_trial_that_is_stopped_leaves_its_last_weights(make_task: MakeTask) -> None:
    task = make_task(epochs=3)
    trial = run_trial(task)
    next(trial), next(trial)
    trial.close()
    with (
        np.load(Path(task.folder) / STOPPED) as stopped,
        np.load(Path(task.folder) / "checkpoint.npz") as before,
    ):
        assert not np.array_equal(
            stopped["arr_0"], before["arr_1"]
        )  # the second epoch's, where the checkpoint is the first's
        assert int(before["arr_0"][0]) == 1


def test_where_an_epoch_is_a_sample_the_papers_rate_counts_passes_and_the_cosine_the_steps(
    make_task: MakeTask,
) -> None:
    task = make_task(images_per_epoch=6, batch_size=3, epochs=5)
    store = Store(Path(task.store))
    images = len(task.train_fields) * len(store.defocused_indices)
    assert images > 6
    assert len(epoch_batches(task, store, epoch=0)) == 2
    assert compile_model(task, store).optimizer._learning_rate.steps_per_epoch == -(-images // 3)
    cosine = make_task(
        images_per_epoch=6,
        batch_size=3,
        epochs=5,
        hyperparameters=task.hyperparameters | {"schedule": "cosine"},
    )
    schedule = compile_model(cosine, store).optimizer._learning_rate
    assert schedule.decay_steps + schedule.warmup_steps == 2 * 5
    assert len(list(run_trial(task))) == 5


def test_mean_weights_are_judged_once_they_are_old_enough(
    make_task: MakeTask, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hyperparameters = make_task().hyperparameters
    scores = {}
    for name, ema, steps in (("own", False, 0), ("young", True, 10_000), ("old", True, 0)):
        monkeypatch.setattr("study.trial.training.EMA_STEPS", steps)
        task = make_task(
            hyperparameters=hyperparameters | {"ema": ema}, folder=str(tmp_path / name)
        )
        scores[name] = [report.metrics["ssim"] for report in run_trial(task)]
    assert scores["young"] == scores["own"]
    assert scores["old"] != scores["own"]
