"""One configuration: train it epoch by epoch, score it. Runs alone, in a notebook or on a bare GPU
machine.

>>> for report in run_trial(task):  # doctest: +SKIP
...     print(report.epoch, report.metrics)
"""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

import keras
import numpy as np

from study.data.batches import EpochBatches
from study.data.store import Store, open_store
from study.errors import TrialFailed
from study.models.autoencoder import build, count_operations, patch_size_of
from study.models.losses import loss_of
from study.models.schedules import schedule_of
from study.objectives import quality
from study.score import Score
from study.trial.checkpoints import (
    STOPPED,
    load_checkpoint,
    save_checkpoint,
    save_model,
    save_weights,
)
from study.trial.device import limit_gpu_memory
from study.trial.evaluation import Restore, defocused_mse, rung_score, score_model
from study.trial.examples import save_examples
from study.trial.inference import make_restore
from study.trial.latency import latency_ms
from study.trial.steps import batch_size_of, steps_a_pass, steps_in_all, steps_of_epoch
from study.trial.task import EpochReport, TrialTask
from study.trial.threads import limit_threads

EMA_MOMENTUM = 0.99  # the EMA weights look back over some hundred steps
EMA_STEPS = 300  # after which they are scored instead of the last weights
# of an epoch: what batch normalisation's statistics are estimated from for the EMA weights
STATISTICS_BATCHES = 16


def run_trial(task: TrialTask) -> Generator[EpochReport]:
    """Train one configuration and report after every epoch; after the last one also its score.

    A checkpoint is left in the trial's folder after each epoch that was reported; a trial that
    finds one is resumed from there, and gives the numbers that it would have given without the
    interruption. At the end the weights stand beside the last checkpoint; a trial that is stopped
    early leaves its last weights too (`study.trial.checkpoints.STOPPED`).

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
    store, folder = open_task_store(task), Path(task.folder)
    keras.backend.clear_session()
    keras.utils.set_random_seed(task.seed)
    model = compile_model(task, store)
    restore = make_task_restore(model, task, precision=task.precision)
    operations = count_operations(task.hyperparameters)
    done, trained_s = load_checkpoint(folder, model)
    for epoch in range(done, task.epochs):
        score = None
        with _memory_failures(epoch):
            metrics, own = _train_epoch(model, task, store, epoch)
            trained_s += metrics["seconds"]
            if task.rung_images:
                metrics |= score_rung(restore, store, task)
            if epoch + 1 == task.epochs:
                if task.precision != "float32":
                    restore = make_task_restore(model, task)
                score = _finish(model, restore, task, store)
        cost = {
            "parameters": float(model.count_params()),
            "gflop": operations / 1e9,
            "steps": float(model.optimizer.iterations),
            "training_seconds": trained_s,
        }
        if score is not None:
            cost["latency_ms"] = latency_ms(restore, task.resolution.size)
        try:
            yield EpochReport(epoch + 1, metrics, cost, score)
        except GeneratorExit:
            if score is None:  # stopped early: the weights that were scored can still be looked at
                save_weights(folder / STOPPED, model)
            raise
        for variable, value in zip(model.variables, own, strict=False):
            variable.assign(value)
        # after the report: an epoch that nobody heard of is done again, and gives the same numbers
        if score is None:
            save_checkpoint(folder, model, epochs=epoch + 1, trained_s=trained_s)


def open_task_store(task: TrialTask) -> Store:
    """Open the images of a task, as its network is to see them."""
    return open_store(task.store, task.node_folder, normalisation=task.normalisation)


def make_task_restore(
    model: keras.Model, task: TrialTask, *, precision: str = "float32"
) -> Restore:
    """Return what restores images with a task's network, see `make_restore`."""
    return make_restore(
        model,
        task.hyperparameters,
        inference=task.inference,
        precision=precision,
        output_activation=task.output_activation,
    )


def compile_model(task: TrialTask, store: Store) -> keras.Model:
    """Build a task's network with its optimiser and loss."""
    hyperparameters = task.hyperparameters
    schedule = schedule_of(
        hyperparameters,
        steps_per_pass=steps_a_pass(task, store),
        steps=steps_in_all(task, store),
    )
    model = build(
        hyperparameters, precision=task.precision, output_activation=task.output_activation
    )
    model.compile(
        optimizer=keras.optimizers.Adam(
            schedule,
            weight_decay=hyperparameters.get("weight_decay") or None,
            use_ema=bool(hyperparameters.get("ema", False)),
            ema_momentum=EMA_MOMENTUM,
        ),
        loss=loss_of(hyperparameters),
        # XLA is slower on a processor
        jit_compile="auto" if keras.backend.backend() != "tensorflow" else False,
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
        batch_size=batch_size_of(task),
        seed=task.seed,
        epoch=epoch,
        augment=bool(task.hyperparameters.get("augment", False)),
        augment_light=bool(task.hyperparameters.get("augment_light", False)),
        weigh_near_focus=bool(task.hyperparameters.get("weigh_near_focus", False)),
        held_out=task.held_out,
        images_per_epoch=task.images_per_epoch,
        steps=steps_of_epoch(task, store, epoch),
    )


def score_rung(restore: Restore, store: Store, task: TrialTask) -> dict[str, float]:
    """Return a task's rung score, and the ``rung_seconds`` that it took."""
    began = time.perf_counter()
    scored = rung_score(
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
    return scored | {"rung_seconds": time.perf_counter() - began}


def _train_epoch(
    model: keras.Model, task: TrialTask, store: Store, epoch: int
) -> tuple[dict[str, float], list[np.ndarray]]:
    """Train one epoch; return its metrics and, where EMA weights are to be scored, the variables
    that training resumes with.

    Keras gives a model with ``ema`` its EMA weights at the end of `fit`; training goes on with the
    model's own.
    """
    batches = epoch_batches(task, store, epoch=epoch)
    began, rate = time.perf_counter(), float(np.asarray(model.optimizer.learning_rate))
    own: list[np.ndarray] = []

    def keep(*_: Any) -> None:
        own.extend(np.asarray(variable).copy() for variable in model.variables)

    keeping = [keras.callbacks.LambdaCallback(on_epoch_end=keep)] if model.optimizer.use_ema else []
    history = model.fit(batches, epochs=1, shuffle=False, verbose=0, callbacks=keeping)
    # until then the mean still remembers the weights that training began with
    if own and int(model.optimizer.iterations) < EMA_STEPS:
        for variable, value in zip(model.variables, own, strict=True):
            variable.assign(value)
        own = []
    loss = float(history.history["loss"][-1])
    if not math.isfinite(loss):
        raise TrialFailed(f"diverged: the loss of epoch {epoch + 1} is {loss}")
    if own:
        estimate_statistics(model, batches)
    seconds = time.perf_counter() - began
    return {"loss": loss, "learning_rate": rate, "seconds": seconds}, own


def estimate_statistics(model: keras.Model, batches: EpochBatches) -> None:
    """Give batch normalisation the statistics that a model's weights have: the mean over some
    batches.

    Those that training has gathered are of other weights than the EMA's (Izmailov et al., 2018,
    "Averaging weights leads to wider optima and better generalization", arXiv:1803.05407, section
    3.2).
    """
    normalising = [
        layer for layer in model.layers if isinstance(layer, keras.layers.BatchNormalization)
    ]
    momentum = [layer.momentum for layer in normalising]
    for seen in range(min(STATISTICS_BATCHES, len(batches)) if normalising else 0):
        for layer in normalising:
            layer.momentum = seen / (seen + 1)  # the mean of all batches until now
        model(batches[seen][0], training=True)
    for layer, value in zip(normalising, momentum, strict=True):
        layer.momentum = value


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
    """Score a trained model, and leave it and example pictures in the trial's folder."""
    score = score_model(
        restore,
        store,
        resolution=task.resolution,
        evaluation=task.evaluation,
        fields=task.eval_fields,
        eval_split=task.eval_split,
        held_out=task.held_out,
    )
    score.summary["objective"] = _objective(score, task, store)
    save_model(model, task, fingerprint=store.fingerprint)
    examples = Path(task.folder) / "examples.npz"
    save_examples(examples, restore, store, task.resolution, fields=task.eval_fields)
    return score


def _objective(score: Score, task: TrialTask, store: Store) -> float:
    """Return a task's objective of all images that were scored."""
    defocused = store.defocused_indices
    table = {
        name: np.array(score.evaluation[name])[:, defocused].ravel()
        for name in ("ssim", "psnr", "mse")
    }
    if task.objective.startswith("penalized_"):
        images = [(field, level) for field in task.eval_fields for level in defocused]
        table["defocused_mse"] = defocused_mse(store, task.evaluation, images)
    levels = np.tile(np.array(store.levels)[defocused], len(task.eval_fields))
    return quality(task.objective, table, levels, task.level_weights)
