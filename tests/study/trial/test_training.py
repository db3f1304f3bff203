from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from study.data.store import Store
from study.errors import TrialFailed
from study.models.losses import LOSSES
from study.trial.checkpoints import STOPPED
from study.trial.inference import load_model, make_restore
from study.trial.task import EpochReport, TrialTask
from study.trial.timing import time_steps
from study.trial.training import compile_model, epoch_batches, run_trial
from tests.small_trials import PATCHES, Trained

MakeTask = Callable[..., TrialTask]
UNET: dict[str, Any] = {
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


def numbers(reports: list[EpochReport]) -> list[dict[str, float]]:
    durations = ("seconds", "rung_seconds")
    return [
        {name: value for name, value in report.metrics.items() if name not in durations}
        for report in reports
    ]


def test_a_trial_reports_every_epoch_and_scores_after_the_last(whole_trial: Trained) -> None:
    reports = whole_trial.reports
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
    assert reports[2].cost["latency_ms"] > 0


def test_an_interrupted_trial_is_resumed_with_the_same_numbers(
    whole_trial: Trained, make_task: MakeTask
) -> None:
    """The second report was heard, its checkpoint not written: its epoch is done again."""
    task = make_task(epochs=3, objective="penalized_ssim")
    trial = run_trial(task)
    heard = [next(trial), next(trial)]
    trial.close()
    folder = Path(task.folder)
    with np.load(folder / STOPPED) as last, np.load(folder / "checkpoint.npz") as before:
        assert int(before["arr_0"][0]) == 1
        assert not np.array_equal(last["arr_0"], before["arr_1"])  # those of the second epoch
    resumed = list(run_trial(task))
    assert [report.epoch for report in resumed] == [2, 3]
    assert numbers(heard) == numbers(whole_trial.reports[:2])
    assert numbers(resumed) == numbers(whole_trial.reports[1:])
    assert resumed[-1].score == whole_trial.score


def test_another_seed_gives_other_numbers(whole_trial: Trained, make_task: MakeTask) -> None:
    other = next(run_trial(make_task(epochs=3, objective="penalized_ssim", seed=6)))
    assert numbers([other]) != numbers(whole_trial.reports[:1])


def test_the_weights_left_behind_restore_as_the_trial_did(whole_trial: Trained) -> None:
    folder = whole_trial.folder
    assert {path.name for path in folder.iterdir()} == {
        "checkpoint.npz",
        "examples.npz",
        "model.json",
        "weights.npz",
    }
    with np.load(folder / "examples.npz", allow_pickle=False) as examples:
        restored = load_model(folder).predict_on_batch(
            examples["defocused"][..., None] / np.float32(255)
        )
        assert np.abs(restored[..., 0] * 255 - examples["restored"]).max() < 1.6
    described = json.loads((folder / "model.json").read_text())
    assert described["hyperparameters"] == whole_trial.task.hyperparameters


def test_either_inference_scores_a_network_that_was_trained_on_patches(
    patch_trial: Trained, train: Callable[..., Trained]
) -> None:
    stitched = train(hyperparameters=PATCHES, patches_per_image=2, inference="stitched")
    losses = [[report.metrics["loss"] for report in one.reports] for one in (patch_trial, stitched)]
    assert losses[0] == losses[1]  # the same network
    assert stitched.score.summary != patch_trial.score.summary  # the border effect


def test_a_lack_of_memory_fails_the_trial_wherever_it_is_met(
    make_task: MakeTask, monkeypatch: pytest.MonkeyPatch
) -> None:
    def too_large(*arguments: object, **options: object) -> None:
        raise tf.errors.ResourceExhaustedError(None, None, "OOM when allocating tensor")

    def no_training(*arguments: object) -> tuple[dict[str, float], list[np.ndarray]]:
        return {"seconds": 0.0}, []

    for place in ("_train_epoch", "rung_score", "score_model"):
        with monkeypatch.context() as patched:
            patched.setattr("study.trial.training._train_epoch", no_training)
            patched.setattr(f"study.trial.training.{place}", too_large)
            with pytest.raises(TrialFailed, match="out of memory in epoch 1"):
                list(run_trial(make_task(epochs=1)))


def test_a_loss_that_is_not_finite_fails_the_trial(
    make_task: MakeTask, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(LOSSES, "l1", lambda target, restored: LOSSES["l2"](target, restored) / 0.0)
    with pytest.raises(TrialFailed, match=r"diverged: the loss of epoch 1 is (nan|inf)"):
        list(run_trial(make_task()))


def test_ema_weights_are_scored_and_kept_while_training_goes_on_with_its_own(
    make_task: MakeTask, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("study.trial.training.EMA_STEPS", 0)
    changes = {
        "normalisation": "batch",
        "skip": "add",
        "dropout": 0.1,
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
    plain = run_trial(make_task(hyperparameters=UNET | changes | {"ema": False}))
    task = make_task(hyperparameters=UNET | changes | {"ema": True}, folder=tmp_path / "ema")
    trial = run_trial(task)
    ema = [next(trial), next(trial)]
    trial.close()  # before the second checkpoint
    for one, other in zip(ema, plain, strict=True):
        assert one.metrics["loss"] == other.metrics["loss"]
        assert one.metrics["ssim"] != other.metrics["ssim"]
    resumed = list(run_trial(task))
    assert [report.epoch for report in resumed] == [2]
    assert numbers(resumed) == numbers(ema[1:])  # both sets of weights were in the checkpoint


def test_ema_weights_are_scored_once_they_are_old_enough(
    whole_trial: Trained, make_task: MakeTask, monkeypatch: pytest.MonkeyPatch
) -> None:
    hyperparameters = whole_trial.task.hyperparameters | {"ema": True}
    task = make_task(epochs=3, objective="penalized_ssim", hyperparameters=hyperparameters)
    assert len(epoch_batches(task, Store(Path(task.store)), epoch=0)) == 3
    monkeypatch.setattr("study.trial.training.EMA_STEPS", 4)  # a step of the second epoch
    reports = run_trial(task)
    scores = [next(reports).metrics["ssim"], next(reports).metrics["ssim"]]
    reports.close()
    assert scores[0] == whole_trial.reports[0].metrics["ssim"]
    assert scores[1] != whole_trial.reports[1].metrics["ssim"]


def test_ema_weights_are_scored_with_statistics_of_their_own(
    make_task: MakeTask, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What batch normalisation subtracts is the mean of what it is given by the weights kept."""
    monkeypatch.setattr("study.trial.training.EMA_STEPS", 0)
    hyperparameters = {"family": "whole", "depth": 2, "filters": 4, "loss": "l1", "image_size": 32}
    fast = {"ema": True, "learning_rate": 0.05, "batch_size": 4}
    task = make_task(hyperparameters=hyperparameters | fast, epochs=2)
    list(run_trial(task))
    model = load_model(Path(task.folder))
    layer = next(one for one in model.layers if isinstance(one, keras.layers.BatchNormalization))
    given = keras.Model(model.inputs, layer.input)
    batches = epoch_batches(task, Store(Path(task.store)), epoch=1)
    means = [
        given.predict_on_batch(batches[at][0]).mean(axis=(0, 1, 2)) for at in range(len(batches))
    ]
    np.testing.assert_allclose(layer.moving_mean, np.mean(means, axis=0), rtol=1e-3, atol=1e-5)


def test_statistics_of_ema_weights_do_not_disturb_the_training(
    make_task: MakeTask, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("study.trial.training.EMA_STEPS", 0)
    whole = {"family": "whole", "depth": 2, "filters": 4, "loss": "l1", "image_size": 32}
    losses = {}
    for ema in (False, True):
        task = make_task(hyperparameters=whole | {"ema": ema}, folder=tmp_path / str(ema), epochs=3)
        losses[ema] = [report.metrics["loss"] for report in run_trial(task)]
    assert losses[True] == losses[False]


def test_a_network_that_restores_no_numbers_fails_its_trial(
    make_task: MakeTask, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A score that leaves such images out would be better than the others."""

    def broken(*arguments: object, **options: object) -> Callable[[np.ndarray], np.ndarray]:
        return lambda images: np.where(np.arange(len(images))[:, None, None] == 1, np.nan, images)

    monkeypatch.setattr("study.trial.training.make_restore", broken)
    for rung_images in (0, 3):
        with pytest.raises(TrialFailed, match=r"diverged: 0\.\d+ of what it restores"):
            list(run_trial(make_task(epochs=1, rung_images=rung_images)))


def test_what_is_scored_is_multiplied_as_float32(whole_trial: Trained) -> None:
    model = load_model(whole_trial.folder)
    seen: list[bool] = []
    switch = tf.config.experimental

    class Watching:
        input_shape, dtype_policy = model.input_shape, model.dtype_policy

        def predict_on_batch(self, images: np.ndarray) -> np.ndarray:
            seen.append(switch.tensor_float_32_execution_enabled())
            return np.asarray(model.predict_on_batch(images))

    restore = make_restore(Watching(), whole_trial.task.hyperparameters, inference="whole")
    before = switch.tensor_float_32_execution_enabled()
    restore(np.zeros((1, 32, 32), np.float32))
    assert before is True
    assert seen == [False]
    assert switch.tensor_float_32_execution_enabled() is before


def test_a_budget_in_steps_is_kept_to_the_step(make_task: MakeTask) -> None:
    task = make_task(epochs=3, steps=7, batch_size=4)
    reports = list(run_trial(task))
    assert [report.cost["steps"] for report in reports] == [2, 4, 7]
    hyperparameters = task.hyperparameters | {"schedule": "cosine"}
    cosine = compile_model(replace(task, hyperparameters=hyperparameters), Store(Path(task.store)))
    schedule = cosine.optimizer._learning_rate
    assert schedule.decay_steps + schedule.warmup_steps == 7


@pytest.mark.parametrize("switch", ["relative_loss", "augment_light", "weigh_near_focus"])
def test_a_switch_of_the_training_reaches_it(switch: str, make_task: MakeTask) -> None:
    """One batch of a compiled network gives another loss with the switch."""
    losses = {}
    for value in (None, False, True):
        changed = UNET if value is None else UNET | {switch: value}
        task = make_task(hyperparameters=changed)
        store = Store(Path(task.store))
        keras.utils.set_random_seed(0)
        model = compile_model(task, store)
        losses[value] = float(model.test_on_batch(*epoch_batches(task, store, epoch=0)[0]))
    assert losses[None] == losses[False] != losses[True]


def test_steps_are_timed_without_leaving_anything(make_task: MakeTask) -> None:
    task = make_task()
    timed = time_steps(task)
    store = Store(Path(task.store))
    images = len(task.train_fields) * len(store.defocused_indices)
    assert timed["steps_per_epoch"] == -(-images // task.batch_size)
    assert timed["seconds_per_step"] > 0
    assert not Path(task.folder).exists()


def test_half_precision_trains_a_network_that_restores_in_float32(
    whole_trial: Trained, make_task: MakeTask
) -> None:
    task = make_task(precision="mixed_bfloat16", epochs=3, objective="penalized_ssim")
    store = Store(Path(task.store))
    half, full = compile_model(task, store), compile_model(whole_trial.task, store)
    assert {layer.compute_dtype for layer in half.layers[1:-1]} == {"bfloat16"}
    assert {str(weight.dtype) for weight in half.weights} == {"float32"}
    assert half.layers[-1].compute_dtype == full.layers[1].compute_dtype == "float32"
    reports = list(run_trial(task))
    expected = [report.metrics for report in whole_trial.reports]
    assert reports[0].metrics["loss"] != expected[0]["loss"]  # it did compute otherwise
    assert reports[-1].metrics["ssim"] == pytest.approx(expected[-1]["ssim"], abs=0.02)
    model = load_model(Path(task.folder))
    images = np.random.default_rng(0).random((2, *full.input_shape[1:])).astype(np.float32)
    half.set_weights(model.get_weights())
    restored = make_restore(half, task.hyperparameters, inference="whole")(images[..., 0])
    np.testing.assert_array_equal(  # float32, not rounded to eight bits
        restored, model.predict_on_batch(images)[..., 0]
    )


def test_where_an_epoch_is_a_sample_the_papers_rate_counts_passes_and_the_cosine_the_steps(
    make_task: MakeTask,
) -> None:
    task = make_task(images_per_epoch=6, batch_size=3, epochs=5)
    store = Store(Path(task.store))
    images = len(task.train_fields) * len(store.defocused_indices)
    assert images > 6
    assert [len(epoch_batches(task, store, epoch=epoch)) for epoch in range(5)] == [2] * 5
    assert compile_model(task, store).optimizer._learning_rate.steps_per_epoch == -(-images // 3)
    hyperparameters = task.hyperparameters | {"schedule": "cosine"}
    cosine = make_task(images_per_epoch=6, batch_size=3, epochs=5, hyperparameters=hyperparameters)
    schedule = compile_model(cosine, store).optimizer._learning_rate
    assert schedule.decay_steps + schedule.warmup_steps == 2 * 5
