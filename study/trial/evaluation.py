"""Model + store -> metrics by level, beside the unrestored input, at the model's own size and on
the evaluation resolution.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import cv2
import numpy as np

from study.data.store import Resolution, Store, change_range
from study.errors import TrialFailed
from study.objectives import quality
from study.score import Score
from study.trial import metrics
from study.trial.classical import Method

Restore = Callable[[np.ndarray], np.ndarray]
SCALE_INVARIANT = ("si_ssim", "si_psnr")
METRICS = ("ssim", "psnr", "nrmse", "rmse", "mse", *SCALE_INVARIANT)
OWN_METRICS = ("ssim", "psnr", "nrmse", "rmse", "mse", "ssim_range2")
Measured = tuple[dict[str, np.ndarray], dict[str, np.ndarray]]  # own size, evaluation resolution


def measure(
    target: np.ndarray, restored: np.ndarray, *, names: Sequence[str] = METRICS
) -> dict[str, np.ndarray]:
    """Return metrics of images in [0, 1], shape (N, Y, X), each of shape (N,).

    ``si_ssim`` and ``si_psnr`` are SSIM and PSNR after `study.trial.metrics.fit_intensities`.
    """
    computed = {"mse": metrics.mse(target, restored)}
    computed["rmse"] = np.sqrt(computed["mse"])
    if "nrmse" in names:
        computed["nrmse"] = metrics.nrmse(target, restored)
    if "psnr" in names:
        computed["psnr"] = metrics.psnr(target, restored, data_range=1.0)
    computed["ssim"] = metrics.ssim(target, restored, data_range=1.0)
    if "ssim_range2" in names:
        computed["ssim_range2"] = metrics.ssim(target, restored, data_range=2.0)
    if set(names) & set(SCALE_INVARIANT):
        fitted = metrics.fit_intensities(target, restored)
        computed["si_ssim"] = metrics.ssim(target, fitted, data_range=1.0)
        computed["si_psnr"] = metrics.psnr(target, fitted, data_range=1.0)
    return {name: computed[name] for name in names}


def to_evaluation_resolution(
    restored: np.ndarray,
    own_range: np.ndarray,
    evaluation_range: np.ndarray,
    evaluation: Resolution,
) -> np.ndarray:
    """Bring restorations to the evaluation resolution through the intensities of their in-focus
    images.

    Parameters
    ----------
    restored : numpy.ndarray, shape (N, S, S)
        In [0, 1], where 0 and 1 stand for the intensities `own_range` of the in-focus image at size
        S.
    own_range, evaluation_range : numpy.ndarray, shape (N, 2)
        Intensities of the in-focus image at 0 and 1, at size S and at the evaluation resolution.
    evaluation : Resolution
        Its size: the area mean of larger restorations, bicubic for smaller ones.

    Returns
    -------
    numpy.ndarray, shape (N, evaluation size, evaluation size)
        In units of the evaluation resolution's in-focus image; a perfect restoration equals it but
        for the resizing.
    """
    size = (evaluation.size, evaluation.size)
    method = cv2.INTER_AREA if restored.shape[1] > evaluation.size else cv2.INTER_CUBIC
    resized = (
        restored
        if restored.shape[1] == evaluation.size
        else np.stack([cv2.resize(image, size, interpolation=method) for image in restored])
    )
    return change_range(resized, own_range, evaluation_range)


def score_model(
    restore: Restore,
    store: Store,
    *,
    resolution: Resolution,
    evaluation: Resolution,
    fields: Sequence[int],
    eval_split: str,
    held_out: Sequence[Sequence[int]] | None = None,
) -> Score:
    """Score restorations of some fields, field by field.

    Parameters
    ----------
    restore : callable
        Images in [0, 1], shape (N, S, S) -> restorations of the same shape.
    store : Store
        The prepared images.
    resolution, evaluation : Resolution
        The network's own size, and the resolution at which all are compared.
    fields : sequence of int
        Indices of the fields.
    eval_split : str
        ``validation`` or ``test``: what `fields` are.
    held_out : sequence of sequences of int, optional
        For each field of the store the levels to score (as indices); every level if not given.
    """

    def measure_field(field: int, levels: np.ndarray) -> Measured:
        restored = restore_images(restore, store, resolution, field, levels)
        target, own_range, evaluation_target, evaluation_range = in_focus_targets(
            store, resolution, evaluation, field, len(levels)
        )
        return measure_own(target, restored), measure(
            evaluation_target,
            to_evaluation_resolution(restored, own_range, evaluation_range, evaluation),
        )

    return score_fields(measure_field, store, fields, eval_split, held_out)


def score_classical(
    method: Method,
    store: Store,
    *,
    resolution: Resolution,
    evaluation: Resolution,
    fields: Sequence[int],
    eval_split: str,
    held_out: Sequence[Sequence[int]] | None = None,
) -> Score:
    """Score a classical method on defocused images that are normalised as the store has them; see
    `score_model`.
    """

    def measure_field(field: int, levels: np.ndarray) -> Measured:
        pairs = []
        for on in (resolution, evaluation):
            target = np.repeat(
                store.as_float(on, field, store.in_focus_index)[None], len(levels), axis=0
            )
            defocused = store.as_float(on, field, levels)
            defocused = store.in_focus_units(defocused, on, field, levels)
            pairs.append((target, method(defocused, target)))
        return measure_own(*pairs[0]), measure(*pairs[1])

    return score_fields(measure_field, store, fields, eval_split, held_out)


def score_upper_bound(
    store: Store,
    *,
    resolution: Resolution,
    evaluation: Resolution,
    fields: Sequence[int],
    eval_split: str,
) -> Score:
    """Score a perfect restoration at one size at the evaluation resolution: what no model of that
    size can exceed.
    """

    def measure_field(field: int, levels: np.ndarray) -> Measured:
        target, own_range, evaluation_target, evaluation_range = in_focus_targets(
            store, resolution, evaluation, field, 1
        )
        own = measure_own(target, target)
        shared = measure(
            evaluation_target,
            to_evaluation_resolution(target, own_range, evaluation_range, evaluation),
        )
        repeat = {name: np.repeat(values, len(levels)) for name, values in own.items()}
        return repeat, {name: np.repeat(values, len(levels)) for name, values in shared.items()}

    return score_fields(measure_field, store, fields, eval_split, None)


def measure_own(target: np.ndarray, restored: np.ndarray) -> dict[str, np.ndarray]:
    """Return what is measured at a model's own size."""
    return measure(target, restored, names=OWN_METRICS) | {
        "cells_bias": cells_bias(target, restored)
    }


def cells_bias(targets: np.ndarray, restored: np.ndarray) -> np.ndarray:
    """Return how much brighter restored images are where cells are, in units of [0, 1], shape (N,).

    Cells are where the in-focus image is above its threshold after Otsu (1979),
    doi:10.1109/TSMC.1979.4310076.
    """
    biases = []
    for target, image in zip(targets, restored, strict=True):
        levels = np.rint(np.clip(target, 0, 1) * 255).astype(np.uint8)
        threshold, _ = cv2.threshold(levels, 0, 255, cv2.THRESH_BINARY + cv2.THRESH_OTSU)
        cells = levels > threshold
        biases.append(float((image - target)[cells].mean()) if cells.any() else 0.0)
    return np.array(biases)


def rung_score(
    restore: Restore,
    store: Store,
    *,
    resolution: Resolution,
    evaluation: Resolution,
    fields: Sequence[int],
    images: int,
    seed: int,
    objective: str = "ssim",
    weights: Mapping[int, float] | None = None,
) -> dict[str, float]:
    """Score a fixed sample of defocused images at the evaluation resolution: cheap, and the same
    images for all trials.
    """
    chosen = _sample(fields, store.defocused_indices, images=images, seed=seed)
    totals: dict[str, list[float]] = {"ssim": [], "psnr": [], "mse": []}
    for start in range(0, len(chosen), 8):
        field, level = chosen[start : start + 8].T
        restored = restore_images(restore, store, resolution, field, level)
        focus = np.full(len(field), store.in_focus_index)
        ranges = store.ranges(resolution)[field, focus], store.ranges(evaluation)[field, focus]
        scored = measure(
            store.as_float(evaluation, field, focus),
            to_evaluation_resolution(restored, *ranges, evaluation),
            names=tuple(totals),
        )
        for name, values in scored.items():
            totals[name].extend(values)
    measured = {name: np.array(values) for name, values in totals.items()}
    means = {name: float(measured[name].mean()) for name in ("ssim", "psnr")}
    measured["defocused_mse"] = defocused_mse(store, evaluation, chosen)
    return means | {
        "objective": quality(objective, measured, np.array(store.levels)[chosen[:, 1]], weights)
    }


def _sample(fields: Sequence[int], levels: Sequence[int], *, images: int, seed: int) -> np.ndarray:
    """Draw so many images, pairs of field and level, shape (N, 2): every level once before any is
    drawn again.
    """
    rng, rounds = np.random.default_rng(seed), min(-(-images // len(levels)), len(fields))
    drawn = rng.permuted(np.tile(fields, (len(levels), 1)), axis=1)
    pairs = [
        (drawn[place, round_], levels[place])
        for round_ in range(rounds)
        for place in rng.permutation(len(levels))
    ]
    return np.array(pairs[:images])


def defocused_mse(
    store: Store, evaluation: Resolution, images: Iterable[tuple[int, int]]
) -> np.ndarray:
    """Return the squared error of some images left unrestored, pairs of field and level as
    indices, at the evaluation resolution, shape (N,).
    """
    errors = []
    for field, level in images:
        errors.append(
            metrics.mse(
                store.as_float(evaluation, field, [store.in_focus_index]),
                store.in_focus_units(
                    store.as_float(evaluation, field, [level]), evaluation, field, [level]
                ),
            )
        )
    return np.concatenate(errors)


def restore_images(
    restore: Restore, store: Store, resolution: Resolution, fields: Any, levels: Any
) -> np.ndarray:
    """Return restorations, indexed by field and level as numpy does, in the units of their in-focus
    images.

    They are numbers everywhere: others have no score, and what has none must not stand as if it had
    not been asked for.
    """
    restored = restore(store.as_float(resolution, fields, levels))
    if not np.isfinite(restored).all():
        share = 1 - float(np.isfinite(restored).mean())
        raise TrialFailed(f"diverged: {share:.2g} of what it restores are no numbers")
    return store.in_focus_units(restored, resolution, fields, levels)


def in_focus_targets(
    store: Store, resolution: Resolution, evaluation: Resolution, field: int, count: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return the in-focus image on both resolutions, each with its range, repeated for `count`
    levels.
    """
    repeated = []
    for on in (resolution, evaluation):
        image = store.as_float(on, field, store.in_focus_index)
        repeated.append(np.repeat(image[None], count, axis=0))
        repeated.append(
            np.repeat(store.ranges(on)[field, store.in_focus_index][None], count, axis=0)
        )
    return repeated[0], repeated[1], repeated[2], repeated[3]


def score_fields(
    measure_field: Callable[[int, np.ndarray], Measured],
    store: Store,
    fields: Sequence[int],
    eval_split: str,
    held_out: Sequence[Sequence[int]] | None,
) -> Score:
    """Measure each field at its levels and put the values into tables of fields and levels."""
    count = len(store.levels)
    own = {name: np.full((len(fields), count), np.nan) for name in (*OWN_METRICS, "cells_bias")}
    evaluation = {name: np.full((len(fields), count), np.nan) for name in METRICS}
    for row, field in enumerate(fields):
        levels = np.arange(count) if held_out is None else np.array(held_out[field], dtype=np.int64)
        if len(levels):
            for table, measured in zip(
                (own, evaluation), measure_field(field, levels), strict=True
            ):
                for name, values in measured.items():
                    table[name][row, levels] = values
    defocused = store.defocused_indices
    return Score(
        eval_split=eval_split,
        levels=list(store.levels),
        fields=[store.fields[field] for field in fields],
        wells=[store.wells[field] for field in fields],
        evaluation={name: _rounded(values) for name, values in evaluation.items()},
        own={name: _rounded(values) for name, values in own.items()},
        summary={
            name: float(np.nanmean(values[:, defocused])) for name, values in evaluation.items()
        },
    )


def _rounded(values: np.ndarray) -> list[list[float]]:
    """Keep seven digits: more than float32 images hold."""
    return [[float(f"{value:.7g}") for value in row] for row in values.tolist()]
