"""More than a trained network's own score: how it does on another data set, and what stitching
patches costs it.

Both work from what a trial left in its folder, so that a finished study can be asked at any time.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from study.data.store import Resolution, Store, open_store
from study.models.autoencoder import patch_size_of
from study.trial.device import limit_gpu_memory
from study.trial.evaluation import measure, restore_images, score_model
from study.trial.examples import save_examples
from study.trial.inference import load_model, make_restore, read_description
from study.trial.task import OUTPUT_ACTIVATIONS, PostHocTask
from study.trial.threads import limit_threads

BORDER_PX = 8  # so far from a seam between patches a pixel counts as its border
MODES = ("stitched", "whole")


def answer_question(task: PostHocTask) -> dict[str, Any]:
    """Answer one question with plain values: a score's, or what `measure_stitching` returns."""
    limit_threads(task.threads)
    limit_gpu_memory(task.gpu_share)
    if task.question == "stitching":
        return measure_stitching(
            Path(task.folder),
            _open_store(task),
            fields=task.fields,
            levels=task.levels,
        )
    return score_transfer(task)


def _open_store(task: PostHocTask) -> Store:
    """Open the images of a question, as the network was trained to see them."""
    normalisation = read_description(Path(task.folder))["normalisation"]
    return open_store(task.store, task.node_folder, normalisation=normalisation)


def score_transfer(task: PostHocTask) -> dict[str, Any]:
    """Score a network on images of another data set, prepared as its own were; leaves an example in
    the trial's folder.
    """
    folder, store = Path(task.folder), _open_store(task)
    description = read_description(folder)
    hyperparameters = description["hyperparameters"]
    resolution = Resolution(int(hyperparameters["image_size"]), description["resize"])
    restore = make_restore(
        load_model(folder),
        hyperparameters,
        inference=task.inference,
        output_activation=OUTPUT_ACTIVATIONS[description["normalisation"]],
    )
    score = score_model(
        restore,
        store,
        resolution=resolution,
        evaluation=Resolution(task.evaluation_size, "antialiased"),
        fields=task.fields,
        eval_split=task.eval_split,
    )
    examples = folder / "transfer_examples.npz"
    save_examples(examples, restore, store, resolution, fields=task.fields)
    return dict(vars(score))


def measure_stitching(
    folder: Path, store: Store, *, fields: list[int], levels: list[int]
) -> dict[str, Any]:
    """Restore the same images with the same weights at once and patch by patch, and compare the
    errors along the seams.

    Parameters
    ----------
    folder : Path
        Where the trial left its weights; a network that is trained on patches.
    store : Store
        The prepared images.
    fields, levels : list of int
        Indices of the images.

    Returns
    -------
    dict
        ``levels``, ``fields``, ``wells``, ``patch_size``, ``border_px``; ``profile``: mode -> mean
        absolute error by distance to the nearest seam in pixels, from 0; ``border`` and ``inside``:
        mode -> mean absolute error of each field within `border_px` of a seam and elsewhere;
        ``ssim`` and ``psnr``: mode -> mean of each field, at the network's own size.
    """
    description = read_description(folder)
    hyperparameters = description["hyperparameters"]
    resolution = Resolution(int(hyperparameters["image_size"]), description["resize"])
    patch_size = patch_size_of(hyperparameters)
    model = load_model(folder)
    ends_in = OUTPUT_ACTIVATIONS[description["normalisation"]]
    restore = {
        mode: make_restore(model, hyperparameters, inference=mode, output_activation=ends_in)
        for mode in MODES
    }
    distance = distance_to_seam(resolution.size, patch_size)
    count = np.bincount(distance.ravel())
    sums = {mode: np.zeros(len(count)) for mode in MODES}
    by_field: dict[str, dict[str, list[float]]] = {
        name: {mode: [] for mode in MODES} for name in ("border", "inside", "ssim", "psnr")
    }
    near = distance < BORDER_PX
    for field in fields:
        target = np.repeat(
            store.as_float(resolution, field, store.in_focus_index)[None], len(levels), axis=0
        )
        for mode in MODES:
            restored = restore_images(restore[mode], store, resolution, field, np.array(levels))
            error = np.abs(restored - target).mean(axis=0, dtype=np.float64)
            sums[mode] += np.bincount(distance.ravel(), weights=error.ravel())
            by_field["border"][mode].append(float(error[near].mean()))
            by_field["inside"][mode].append(float(error[~near].mean()))
            for name, values in measure(target, restored, names=("ssim", "psnr")).items():
                by_field[name][mode].append(float(values.mean()))
    return {
        "levels": [store.levels[level] for level in levels],
        "fields": [store.fields[field] for field in fields],
        "wells": [store.wells[field] for field in fields],
        "patch_size": patch_size,
        "border_px": BORDER_PX,
        "profile": {mode: (sums[mode] / count / len(fields)).tolist() for mode in MODES},
        **by_field,
    }


def distance_to_seam(size: int, patch_size: int) -> np.ndarray:
    """Return each pixel's distance to the nearest seam between patches, shape (size, size); 0
    touches one.

    The image's own border is no seam.
    """
    position = np.arange(size)
    seams = np.arange(patch_size, size, patch_size)  # between pixel seam - 1 and pixel seam
    along = (
        np.abs(position[:, None] + 0.5 - seams[None]).min(axis=1).astype(np.int64)
        if len(seams)
        else np.full(size, size)
    )
    return np.minimum(along[:, None], along[None])
