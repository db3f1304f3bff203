"""One configuration: train it epoch by epoch, score it. Runs alone, in a notebook or on a bare GPU
machine.

>>> for report in run_trial(task):  # doctest: +SKIP
...     print(report.epoch, report.metrics)
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import time
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

import cv2
import keras
import numpy as np

from study.data.batches import EpochBatches, patches_of, steps_per_epoch, training_images
from study.data.store import Resolution, Store, open_store
from study.errors import TrialFailed
from study.files import new_file
from study.models.autoencoder import Hyperparameters, build, count_operations, patch_size_of
from study.models.losses import loss_of
from study.models.schedules import schedule_of
from study.score import Score
from study.trial.device import limit_gpu_memory
from study.trial.evaluation import Restore, defocused_mse, model_restorer, rung_score, score_model
from study.trial.objectives import quality
from study.trial.task import EpochReport, TrialTask

EMA_MOMENTUM = 0.99  # the EMA weights look back over some hundred steps
EMA_STEPS = 300  # after which they are judged instead of the last weights
STOPPED = "stopped.npz"
PREDICTED_PIXELS = (
    16 * 128 * 128
)  # in one call of the network: bounds the memory of its widest layer
EXAMPLE_PLACES = (
    0.0,
    8 / 33,
    15 / 33,
    24 / 33,
    1.0,
)  # z 0, 8, 15, 24 and 33 of BBBC006; and the level in focus


def run_trial(task: TrialTask) -> Generator[EpochReport]:
    """Train one configuration and report after every epoch; after the last one also its score.

    A checkpoint is left in the trial's folder after each epoch that was reported; a trial that
    finds one goes on from there, and gives the numbers that it would have given without the
    interruption. At the end the weights stand beside the last checkpoint; a trial that is stopped
    early leaves its last weights too (`STOPPED`).

    Parameters
    ----------
    task : TrialTask
        Everything that the trial needs to know.

    Yields
    ------
    EpochReport
        One for each epoch not done before.

    Raises
    ------
    TrialFailed
        If the loss is not finite any more, or the memory does not suffice.
    """
    limit_threads(task.threads)
    limit_gpu_memory(task.gpu_share)
    store, folder = open_store(task.store, task.node_folder), Path(task.folder)
    keras.backend.clear_session()
    keras.utils.set_random_seed(task.seed)
    model = compile_model(task, store)
    restore = restorer(
        model, task.hyperparameters, inference=task.inference, precision=task.precision
    )
    operations = count_operations(task.hyperparameters)
    done, trained_s = _restore_checkpoint(folder, model)
    for epoch in range(done, task.epochs):
        started = time.perf_counter()
        with _memory_failures(epoch):
            metrics, own = _train_epoch(model, task, store, epoch)
            metrics["seconds"] = time.perf_counter() - started
            trained_s += metrics["seconds"]
            if task.rung_images:
                began = time.perf_counter()
                metrics |= rung_score(
                    restore,
                    store,
                    resolution=task.resolution,
                    evaluation=task.evaluation,
                    fields=task.eval_fields,
                    images=task.rung_images,
                    seed=task.rung_seed,
                    objective=task.objective,
                    weights=task.level_weights,
                )
                metrics["rung_seconds"] = time.perf_counter() - began
            score = None
            if epoch + 1 == task.epochs:
                if task.precision != "float32":
                    restore = restorer(model, task.hyperparameters, inference=task.inference)
                score = _finish(model, restore, task, store)
        cost = {
            "parameters": float(model.count_params()),
            "gflop": operations / 1e9,
            "training_seconds": trained_s,
        }
        if score is not None:
            cost["latency_ms"] = _latency_ms(restore, task.resolution.size)
        try:
            yield EpochReport(epoch + 1, metrics, cost, score)
        except GeneratorExit:
            if score is None:  # stopped early: the weights that were judged can still be looked at
                _save_weights(folder / STOPPED, model)
            raise
        for variable, value in zip(model.trainable_variables, own, strict=False):
            variable.assign(value)
        if (
            score is None
        ):  # after the report: what was not heard of is done again, and gives the same numbers
            _save_checkpoint(folder, model, epoch + 1, trained_s)


def limit_threads(threads: int) -> None:
    """Give numerical libraries so many threads: one pool that runs one operation after another.

    On processors this is faster than Keras's own setting, and it is what makes a trial's numbers
    repeatable. It must come before the first operation of the process; later calls do not change a
    running TensorFlow or JAX.
    """
    os.environ["TF_NUM_INTRAOP_THREADS"] = os.environ["OMP_NUM_THREADS"] = os.environ["NPROC"] = (
        str(threads)
    )  # NPROC: of JAX's pool
    os.environ["TF_NUM_INTEROP_THREADS"] = "1"
    cv2.setNumThreads(threads)
    if keras.backend.backend() == "torch":  # it has read its variable already
        import torch

        torch.set_num_threads(threads)


def restorer(
    model: keras.Model,
    hyperparameters: Hyperparameters,
    *,
    inference: str,
    precision: str = "float32",
) -> Restore:
    """Return the function that restores images of the network's image size with the weights that
    the model then has.

    Parameters
    ----------
    model : keras.Model
        Built from `hyperparameters`.
    hyperparameters : mapping
        A point of a search space.
    inference : str
        ``whole`` (the whole image at once) or ``stitched`` (patch by patch).
    precision : str
        What it computes in, whatever the model is trained in.

    Returns
    -------
    callable
        Its network takes the model's weights over at the first call, and again whenever the
        optimiser has made steps.
    """
    patch_size = patch_size_of(hyperparameters)
    size = patch_size if inference == "stitched" else int(hyperparameters["image_size"])
    own = size == model.input_shape[1] and model.dtype_policy.name == precision
    network = model if own else build(hyperparameters, size=size, precision=precision)
    step = max(1, PREDICTED_PIXELS // size**2)

    copied: list[int] = []

    def predict(images: np.ndarray) -> np.ndarray:
        optimizer = getattr(model, "optimizer", None)  # a network that was only loaded has none
        steps = 0 if optimizer is None else int(optimizer.iterations)
        if network is not model and copied != [steps]:
            network.set_weights(model.get_weights())
            copied[:] = [steps]
        parts = [
            network.predict_on_batch(images[start : start + step])
            for start in range(0, len(images), step)
        ]
        return np.concatenate([np.asarray(part, np.float32) for part in parts])

    return model_restorer(predict, patch_size=patch_size, inference=inference)


def load_model(folder: Path, *, size: int | None = None) -> keras.Model:
    """Build the network that a trial left in its folder, for images of `size` or its own, from
    plain arrays and JSON alone.
    """
    model = build(read_description(folder)["hyperparameters"], size=size)
    with np.load(folder / "weights.npz", allow_pickle=False) as arrays:
        model.set_weights([arrays[name] for name in arrays.files])
    return model


def read_description(folder: Path) -> dict[str, Any]:
    """Read what a trial left beside its weights: ``hyperparameters``, ``resize``, and the
    fingerprint of its ``store``.
    """
    described: dict[str, Any] = json.loads((folder / "model.json").read_text(encoding="utf-8"))
    return described


def compile_model(task: TrialTask, store: Store) -> keras.Model:
    """Build a task's network with its optimiser and loss."""
    images = len(training_images(store, task.train_fields, task.held_out))
    patches = patches_of(
        task.resolution.size // patch_size_of(task.hyperparameters), task.patches_per_image
    )
    steps_per_pass, steps = (
        steps_per_epoch(count, patches=patches, batch_size=_batch_size(task))
        for count in (images, min(task.images_per_epoch or images, images))
    )
    hyperparameters = task.hyperparameters
    model = build(hyperparameters, precision=task.precision)
    model.compile(
        optimizer=keras.optimizers.Adam(
            schedule_of(hyperparameters, steps_per_pass=steps_per_pass, steps=steps * task.epochs),
            weight_decay=hyperparameters.get("weight_decay") or None,
            use_ema=bool(hyperparameters.get("ema", False)),
            ema_momentum=EMA_MOMENTUM,
        ),
        loss=loss_of(hyperparameters),
        jit_compile=(
            "auto" if keras.backend.backend() != "tensorflow" else False
        ),  # XLA is slower on a processor
    )
    model.optimizer.build(model.trainable_variables)
    return model


def epoch_batches(task: TrialTask, store: Store, *, epoch: int) -> EpochBatches:
    """Return the batches that a task trains on in one epoch, counted from 0."""
    return EpochBatches(
        store,
        task.resolution,
        fields=task.train_fields,
        patch_size=patch_size_of(task.hyperparameters),
        patches_per_image=task.patches_per_image,
        batch_size=_batch_size(task),
        seed=task.seed,
        epoch=epoch,
        augment=bool(task.hyperparameters.get("augment", False)),
        augment_light=bool(task.hyperparameters.get("augment_light", False)),
        weigh_near_focus=bool(task.hyperparameters.get("weigh_near_focus", False)),
        held_out=task.held_out,
        images_per_epoch=task.images_per_epoch,
    )


def _latency_ms(restore: Restore, size: int) -> float:
    """Return how long one image takes on this device: the median of five, after one that is not
    counted.
    """
    image = np.zeros((1, size, size), np.float32)
    elapsed = []
    for _ in range(6):
        began = time.perf_counter()
        restore(image)
        elapsed.append(time.perf_counter() - began)
    return 1000 * float(np.median(elapsed[1:]))


def _batch_size(task: TrialTask) -> int:
    return int(task.hyperparameters.get("batch_size", task.batch_size))


def _train_epoch(
    model: keras.Model, task: TrialTask, store: Store, epoch: int
) -> tuple[dict[str, float], list[np.ndarray]]:
    """Train one epoch; return its metrics and, where a mean of the weights is to be judged, the
    weights to go on with.

    Keras gives a model that keeps a moving mean (``ema``) that mean at the end of `fit`; training
    resumes its own weights.
    """
    batches = epoch_batches(task, store, epoch=epoch)
    rate = float(np.asarray(model.optimizer.learning_rate))
    own: list[np.ndarray] = []

    def keep(*_: Any) -> None:
        own.extend(np.asarray(variable).copy() for variable in model.trainable_variables)

    keeping = [keras.callbacks.LambdaCallback(on_epoch_end=keep)] if model.optimizer.use_ema else []
    history = model.fit(batches, epochs=1, shuffle=False, verbose=0, callbacks=keeping)
    if (
        own and int(model.optimizer.iterations) < EMA_STEPS
    ):  # the mean still remembers the weights that training began with
        for variable, value in zip(model.trainable_variables, own, strict=True):
            variable.assign(value)
        own = []
    loss = float(history.history["loss"][-1])
    if not math.isfinite(loss):
        raise TrialFailed(f"diverged: the loss of epoch {epoch + 1} is {loss}")
    return {"loss": loss, "learning_rate": rate}, own


@contextlib.contextmanager
def _memory_failures(epoch: int) -> Iterator[None]:
    """Turn whatever a backend raises when the memory does not suffice into a failed trial."""
    try:
        yield
    except Exception as error:
        known = type(error).__name__ in (
            "ResourceExhaustedError",
            "OutOfMemoryError",
        ) or "RESOURCE_EXHAUSTED" in str(error)
        if known or isinstance(error, MemoryError):
            raise TrialFailed(f"out of memory in epoch {epoch + 1}: {str(error)[:200]}") from error
        raise


def _finish(model: keras.Model, restore: Restore, task: TrialTask, store: Store) -> Score:
    score = score_model(
        restore,
        store,
        resolution=task.resolution,
        evaluation=task.evaluation,
        fields=task.eval_fields,
        eval_split=task.eval_split,
        held_out=task.held_out,
    )
    defocused = store.defocused_indices
    table = {
        name: np.array(score.evaluation[name])[:, defocused].ravel()
        for name in ("ssim", "psnr", "mse")
    }
    if task.objective.startswith("penalized_"):
        table["defocused_mse"] = defocused_mse(
            store,
            task.evaluation,
            [(field, level) for field in task.eval_fields for level in defocused],
        )
    levels = np.tile(np.array(store.levels)[defocused], len(task.eval_fields))
    score.summary["objective"] = quality(task.objective, table, levels, task.level_weights)
    folder = Path(task.folder)
    _save_weights(folder / "weights.npz", model)
    with new_file(folder / "model.json") as path:
        described = {
            "hyperparameters": task.hyperparameters,
            "store": store.fingerprint,
            "resize": task.resize,
        }
        path.write_text(json.dumps(described, indent=1), encoding="utf-8")
    save_examples(
        folder / "examples.npz",
        restore,
        store,
        task.resolution,
        field=task.eval_fields[len(task.eval_fields) // 2],
    )
    return score


def save_examples(
    path: Path, restore: Restore, store: Store, resolution: Resolution, *, field: int
) -> None:
    """Keep one field, defocused at five levels and in focus, and restored, at the model's own size,
    for the figures.
    """
    last = len(store.levels) - 1
    levels = sorted({round(place * last) for place in EXAMPLE_PLACES} | {store.in_focus_index})
    images = store.as_float(resolution, field, np.array(levels))
    arrays = {
        "defocused": images,
        "restored": restore(images),
        "in_focus": store.as_float(resolution, field, store.in_focus_index),
    }
    stored = {
        name: np.rint(np.clip(array, 0, 1) * 255).astype(np.uint8) for name, array in arrays.items()
    }
    with new_file(path) as partial:
        np.savez_compressed(
            partial,
            **stored,
            levels=np.array([store.levels[level] for level in levels]),
            field=np.array(store.fields[field]),
        )


def _save_weights(target: Path, model: keras.Model) -> None:
    with new_file(target) as path:
        np.savez(path, *model.get_weights())


def _save_checkpoint(folder: Path, model: keras.Model, epoch: int, trained_s: float) -> None:
    with new_file(folder / "checkpoint.npz") as path:
        state = [
            np.asarray(variable) for variable in (*model.variables, *model.optimizer.variables)
        ]
        np.savez(path, np.array([epoch, trained_s]), *state)


def _restore_checkpoint(folder: Path, model: keras.Model) -> tuple[int, float]:
    """Bring the model to where its checkpoint is, if there is one; return the epochs done and the
    seconds they took.
    """
    path = folder / "checkpoint.npz"
    if not path.is_file():
        return 0, 0.0
    with np.load(path, allow_pickle=False) as arrays:
        progress, *state = (arrays[name] for name in arrays.files)
    for variable, value in zip((*model.variables, *model.optimizer.variables), state, strict=True):
        variable.assign(value)
    return int(progress[0]), float(progress[1])
