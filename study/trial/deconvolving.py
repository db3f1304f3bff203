"""Deconvolutions that are told the true blur: tuned level by level, and scored at the evaluation
resolution.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from study.data.prepare import resize_image
from study.data.store import Resolution, Store
from study.errors import StudyError
from study.files import read_image
from study.score import Score
from study.trial.classical import Deconvolution
from study.trial.evaluation import Measured, measure, measure_own, score_fields


def choose_parameter(
    method: Deconvolution,
    store: Store,
    *,
    evaluation: Resolution,
    fields: Sequence[int],
    level: int,
    metric: str,
) -> float:
    """Return the parameter of a method's grid that restores some images of one level best.

    Parameters
    ----------
    method : Deconvolution
        What is tuned.
    store : Store
        The prepared images.
    evaluation : Resolution
        Where restorations are measured.
    fields : sequence of int
        Indices of the fields.
    level : int
        Index of the level.
    metric : str
        ``ssim`` or ``psnr``: the highest mean is the best.

    Raises
    ------
    StudyError
        If the true blur of these images is not known.
    """
    totals = np.zeros(len(method.grid))
    for field in fields:
        restored = list(_restore(method, store, evaluation, field, level, method.grid))
        target = store.as_float(evaluation, field, [store.in_focus_index] * len(restored))
        totals += measure(target, np.stack(restored), names=(metric,))[metric]
    return method.grid[int(totals.argmax())]


def score_deconvolution(
    method: Deconvolution,
    store: Store,
    *,
    evaluation: Resolution,
    fields: Sequence[int],
    eval_split: str,
    parameters: Mapping[int, float],
    held_out: Sequence[Sequence[int]] | None = None,
) -> Score:
    """Score a deconvolution that is told the true blur, at native pixels before any resizing, on
    the evaluation resolution.

    Its restorations keep the camera's intensities, so that they need no normalisation of their own:
    another advantage. The image in focus stays as it is.

    Parameters
    ----------
    method : Deconvolution
        What restores.
    store, evaluation, fields, eval_split, held_out
        As for `study.trial.evaluation.score_model`.
    parameters : mapping
        Level -> the method's parameter there.

    Raises
    ------
    StudyError
        If the true blur of these images is not known.
    """

    def restore(field: int, level: int) -> np.ndarray:
        in_focus = level == store.in_focus_index
        value = method.grid[0] if in_focus else parameters[store.levels[level]]
        return next(_restore(method, store, evaluation, field, level, [value]))

    def measure_field(field: int, levels: np.ndarray) -> Measured:
        images = np.stack([restore(field, int(level)) for level in levels])
        target = store.as_float(evaluation, field, [store.in_focus_index] * len(levels))
        return measure_own(target, images), measure(target, images)

    return score_fields(measure_field, store, fields, eval_split, held_out)


def _restore(
    method: Deconvolution,
    store: Store,
    evaluation: Resolution,
    field: int,
    level: int,
    values: Sequence[float],
) -> Iterator[np.ndarray]:
    """Yield the restorations of one image with each value of the parameter, at the evaluation
    resolution in units of its in-focus image.
    """
    blur_kernel = store.layout.blur_kernel
    if blur_kernel is None or not store.blur_known:
        raise StudyError(f"nobody knows the true blur of the images in {store.folder}")
    plane = store.planes()[field * len(store.levels) + level]
    image = read_image(Path(store.description["source"]) / plane["path"]).astype(np.float64)
    low, high = store.ranges(evaluation)[field, store.in_focus_index]
    scale, kernel = image.max() or 1.0, blur_kernel(store.levels[level])
    restored = (
        (image / scale for _ in values)
        if kernel.size == 1
        else method.restore_each(image / scale, kernel, values)
    )
    for sharp in restored:
        at_evaluation = resize_image(sharp * scale, evaluation)
        yield ((at_evaluation - low) / (high - low)).astype(np.float32)
