"""A real trial that takes milliseconds: a linear filter, fitted by gradient steps in NumPy.

It keeps the contract of `study.trial.training.run_trial` (`tests/contracts/test_trials.py`
holds both to it) and takes every configuration of the search spaces as it is, so that all that
happens around trials can be tested without waiting for a framework. Nothing here imports one.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Generator
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from study.data.patches import split_patches, stitch_patches
from study.data.store import Resolution, Store, open_store
from study.errors import TrialFailed
from study.files import new_file
from study.objectives import quality
from study.score import Score
from study.trial.device import gpu_total_mib, processor_name
from study.trial.evaluation import Restore, defocused_mse, measure, rung_score, score_model
from study.trial.examples import save_examples
from study.trial.latency import latency_ms
from study.trial.task import EpochReport, PostHocTask, TrialTask

MOST_BATCHES = 12  # of an epoch that are trained on, however many it holds
STEPS = 4  # on each of them
WINDOW = 16  # side of what is cut out of an image to fit the filter to, in pixels
BORDER_PX = 8  # so far from a seam between patches a pixel counts as its border
MODES = ("stitched", "whole")


class Filter:
    """A kernel and an offset: an image convolved with the one plus the other.

    Parameters
    ----------
    hyperparameters : mapping
        A configuration of any search space: ``depth`` gives the side of the kernel,
        ``learning_rate``, or else ``filters``, the length of a gradient step.
    seed : int
        Of the kernel to begin with.
    """

    def __init__(self, hyperparameters: dict[str, Any], *, seed: int) -> None:
        self.side = 1 + 2 * min(int(hyperparameters["depth"]), 3)
        rng = np.random.default_rng(seed)
        self.kernel = rng.normal(0, 0.1 / self.side, (self.side, self.side))
        self.offset = np.array(0.0)
        self.patch_size = int(
            hyperparameters.get(
                "patch_size", hyperparameters.get("crop_size", hyperparameters["image_size"])
            )
        )
        filters = int(hyperparameters.get("filters", 16))
        self.rate = float(hyperparameters.get("learning_rate", 1e-3 * filters / 8))

    @property
    def arrays(self) -> list[np.ndarray]:
        """All that training changes."""
        return [self.kernel, self.offset]

    def load(self, arrays: list[np.ndarray]) -> None:
        """Take over what training changed."""
        self.kernel, self.offset = arrays[0].copy(), arrays[1].copy()

    def step(self, defocused: np.ndarray, sharp: np.ndarray) -> float:
        """Go one step down the gradient of the mean squared error; return that error.

        Parameters
        ----------
        defocused, sharp : numpy.ndarray, shape (N, W, W)
            In [0, 1].
        """
        margin = self.side // 2
        windows = np.lib.stride_tricks.sliding_window_view(
            defocused, (self.side, self.side), axis=(1, 2)
        ).reshape(-1, self.side**2)
        target = sharp[:, margin : sharp.shape[1] - margin, margin : sharp.shape[2] - margin]
        error = windows @ self.kernel.ravel() + self.offset - target.ravel()
        # the gradient over its largest curvature: a rate of 5e-3 is a whole step
        length = 200 * self.rate / (1 + np.square(windows).sum(axis=1).mean())
        self.kernel = self.kernel - length * (windows.T @ error / len(error)).reshape(
            self.kernel.shape
        )
        self.offset = self.offset - length * error.mean()
        return float(np.square(error).mean())

    def predict(self, images: np.ndarray) -> np.ndarray:
        """Return restorations of images, shape (N, S, S), in [0, 1] as a network's are."""
        kernel, offset = self.kernel.astype(np.float32), np.float32(self.offset)
        restored = [
            cv2.filter2D(image, -1, kernel, borderType=cv2.BORDER_CONSTANT) + offset
            for image in images
        ]
        return np.clip(np.stack(restored), 0, 1)

    def restorer(self, inference: str) -> Restore:
        """Return the function that restores images, shape (N, S, S)."""

        def restore(images: np.ndarray) -> np.ndarray:
            if inference != "stitched":
                return self.predict(images)
            patches = self.predict(split_patches(images, self.patch_size))
            return stitch_patches(patches, images.shape[1])

        return restore


def set_up_process(task: TrialTask) -> dict[str, Any]:
    """Say where the process is; a filter needs no bound on its memory, and is told its share."""
    total = gpu_total_mib()
    share = None if total is None or task.gpu_share is None else int(total * task.gpu_share)
    return {"gpu_limit_mib": share, "processor": processor_name(), "backend": "numpy"}


def run_trial(task: TrialTask) -> Generator[EpochReport]:
    """Fit the filter and report after every epoch; after the last one also its score."""
    store, folder = open_store(task.store, task.node_folder), Path(task.folder)
    fitted = Filter(task.hyperparameters, seed=task.seed)
    done, trained_s = _restore_checkpoint(folder, fitted)
    restore = fitted.restorer(task.inference)
    for epoch in range(done, task.epochs):
        began = time.perf_counter()
        metrics = {"loss": _train_epoch(fitted, task, store, epoch), "learning_rate": fitted.rate}
        metrics["seconds"] = time.perf_counter() - began
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
        size = task.resolution.size
        cost = {
            "parameters": float(fitted.side**2 + 1),
            "steps": float(_steps_done(task, store, epoch)),
            "gflop": 2 * fitted.side**2 * size**2 / 1e9,
            "training_seconds": trained_s,
        }
        score = None
        if epoch + 1 == task.epochs:
            score = _finish(fitted, task, store)
            cost["latency_ms"] = latency_ms(restore, size)
        try:
            yield EpochReport(epoch + 1, metrics, cost, score)
        except GeneratorExit:
            if score is None:
                _save(folder / "stopped.npz", fitted.arrays)
            raise
        if score is None:
            progress = np.array([epoch + 1, trained_s])
            _save(folder / "checkpoint.npz", [progress, *fitted.arrays])


def answer_question(task: PostHocTask) -> dict[str, Any]:
    """Answer as `study.trial.post_hoc_scores.answer_question` does, by the filter that a trial has
    left.
    """
    folder, store = Path(task.folder), open_store(task.store, task.node_folder)
    described = json.loads((folder / "model.json").read_text(encoding="utf-8"))
    fitted = Filter(described["hyperparameters"], seed=0)
    with np.load(folder / "weights.npz", allow_pickle=False) as arrays:
        fitted.load([arrays[name] for name in arrays.files])
    own = Resolution(int(described["hyperparameters"]["image_size"]), described["resize"])
    if task.question == "stitching":
        return _measure_stitching(fitted, store, own, fields=task.fields, levels=task.levels)
    restore = fitted.restorer(task.inference)
    save_examples(folder / "transfer_examples.npz", restore, store, own, fields=task.fields)
    score = score_model(
        restore,
        store,
        resolution=own,
        evaluation=Resolution(task.evaluation_size, "antialiased"),
        fields=task.fields,
        eval_split=task.eval_split,
    )
    return dict(vars(score))


def time_steps(task: TrialTask) -> dict[str, Any]:
    """Take some steps and forget them, as `study.trial.timing.time_steps` does."""
    store = open_store(task.store, task.node_folder)
    began = time.perf_counter()
    _train_epoch(Filter(task.hyperparameters, seed=task.seed), task, store, 0)
    batches = _count_batches(task, len(_training_images(task, store)))
    seconds = (time.perf_counter() - began) / min(MOST_BATCHES, batches)
    return {"seconds_per_step": seconds, "steps_per_epoch": batches}


def _training_images(task: TrialTask, store: Store) -> list[tuple[int, int]]:
    """Return what is trained on: pairs of field and level, as indices."""
    return [
        (field, level)
        for field in task.train_fields
        for level in store.defocused_indices
        if task.held_out is None or level not in task.held_out[field]
    ]


def _count_batches(task: TrialTask, images: int) -> int:
    batch_size = int(task.hyperparameters.get("batch_size", task.batch_size))
    return -(-min(images, task.images_per_epoch or images) // batch_size)


def _steps_done(task: TrialTask, store: Store, epoch: int) -> int:
    """Return the steps of all epochs until one, as the contract counts them."""
    if task.steps is not None:
        return task.steps * (epoch + 1) // task.epochs
    return (epoch + 1) * _count_batches(task, len(_training_images(task, store)))


def _train_epoch(fitted: Filter, task: TrialTask, store: Store, epoch: int) -> float:
    """Train on what seed and epoch choose; return the mean loss."""
    rng = np.random.default_rng([task.seed, epoch])
    images, losses = _training_images(task, store), []
    batch_size = int(task.hyperparameters.get("batch_size", task.batch_size))
    size, focus = min(WINDOW, task.resolution.size), store.in_focus_index
    for _ in range(min(MOST_BATCHES, _count_batches(task, len(images)))):
        pairs = []
        for field, level in rng.choice(images, size=batch_size):
            top, left = rng.integers(0, task.resolution.size - size + 1, 2)
            both = store.images(task.resolution)[field, [level, focus]]
            pairs.append(both[:, top : top + size, left : left + size] / 65535)
        with np.errstate(all="ignore"):  # that it diverges is looked for below
            losses += [fitted.step(*np.stack(pairs, axis=1)) for _ in range(STEPS)]
    loss = float(np.mean(losses))
    if not (math.isfinite(loss) and np.isfinite(fitted.kernel).all() and loss < 1e6):
        raise TrialFailed(f"diverged: the loss of epoch {epoch + 1} is {loss}")
    return loss


def _finish(fitted: Filter, task: TrialTask, store: Store) -> Score:
    restore, folder = fitted.restorer(task.inference), Path(task.folder)
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
    images = [(field, level) for field in task.eval_fields for level in defocused]
    table["defocused_mse"] = defocused_mse(store, task.evaluation, images)
    levels = np.tile(np.array(store.levels)[defocused], len(task.eval_fields))
    score.summary["objective"] = quality(task.objective, table, levels, task.level_weights)
    _save(folder / "weights.npz", fitted.arrays)
    with new_file(folder / "model.json") as path:
        described = {
            "hyperparameters": task.hyperparameters,
            "store": store.fingerprint,
            "resize": task.resize,
            "normalisation": task.normalisation,
        }
        path.write_text(json.dumps(described), encoding="utf-8")
    save_examples(folder / "examples.npz", restore, store, task.resolution, fields=task.eval_fields)
    return score


def _measure_stitching(
    fitted: Filter, store: Store, own: Resolution, *, fields: list[int], levels: list[int]
) -> dict[str, Any]:
    position = np.arange(own.size)
    seams = np.arange(fitted.patch_size, own.size, fitted.patch_size)
    along = np.abs(position[:, None] + 0.5 - seams).min(axis=1, initial=own.size).astype(int)
    distance = np.minimum(along[:, None], along[None])
    near, profile = distance < BORDER_PX, {}
    by_field: dict[str, dict[str, list[float]]] = {
        name: {mode: [] for mode in MODES} for name in ("border", "inside", "ssim", "psnr")
    }
    for mode in MODES:
        errors = []
        for field in fields:
            target = store.as_float(own, field, [store.in_focus_index] * len(levels))
            restored = fitted.restorer(mode)(store.as_float(own, field, np.array(levels)))
            errors.append(np.abs(restored - target).mean(axis=0, dtype=np.float64))
            by_field["border"][mode].append(float(errors[-1][near].mean()))
            by_field["inside"][mode].append(float(errors[-1][~near].mean()))
            for name, values in measure(target, restored, names=("ssim", "psnr")).items():
                by_field[name][mode].append(float(values.mean()))
        sums = np.bincount(distance.ravel(), weights=np.mean(errors, axis=0).ravel())
        profile[mode] = (sums / np.maximum(np.bincount(distance.ravel()), 1)).tolist()
    return {
        "levels": [store.levels[level] for level in levels],
        "fields": [store.fields[field] for field in fields],
        "wells": [store.wells[field] for field in fields],
        "patch_size": fitted.patch_size,
        "border_px": BORDER_PX,
        "profile": profile,
        **by_field,
    }


def _save(path: Path, arrays: list[np.ndarray]) -> None:
    with new_file(path) as partial:
        np.savez(partial, *arrays)


def _restore_checkpoint(folder: Path, fitted: Filter) -> tuple[int, float]:
    path = folder / "checkpoint.npz"
    if not path.is_file():
        return 0, 0.0
    with np.load(path, allow_pickle=False) as arrays:
        progress, *state = (arrays[name] for name in arrays.files)
    fitted.load(state)
    return int(progress[0]), float(progress[1])
