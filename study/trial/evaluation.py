"""Model + store -> metrics by level, beside do-nothing, at the model's own size and on the common grid."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import cv2
import numpy as np

from study.data.patches import split_patches, stitch_patches
from study.data.store import Grid, Store
from study.trial import metrics
from study.trial.classical import Method
from study.trial.task import Score

Restore = Callable[[np.ndarray], np.ndarray]
METRICS = ("ssim", "psnr", "nrmse", "rmse", "mse")
OWN_METRICS = (*METRICS, "ssim_range2")


def measure(reference: np.ndarray, restored: np.ndarray, *, names: Sequence[str] = METRICS) -> dict[str, np.ndarray]:
    """Return metrics of images in [0, 1], shape (N, Y, X), each of shape (N,)."""
    computed = {"mse": metrics.mse(reference, restored)}
    computed["rmse"] = np.sqrt(computed["mse"])
    if "nrmse" in names:
        computed["nrmse"] = metrics.nrmse(reference, restored)
    if "psnr" in names:
        computed["psnr"] = metrics.psnr(reference, restored, data_range=1.0)
    computed["ssim"] = metrics.ssim(reference, restored, data_range=1.0)
    if "ssim_range2" in names:
        computed["ssim_range2"] = metrics.ssim(reference, restored, data_range=2.0)
    return {name: computed[name] for name in names}


def to_common_grid(restored: np.ndarray, own_range: np.ndarray, common_range: np.ndarray, common: Grid) -> np.ndarray:
    """Bring restorations to the common grid through the intensities of their in-focus images.

    Parameters
    ----------
    restored : numpy.ndarray, shape (N, S, S)
        In [0, 1], where 0 and 1 stand for the intensities `own_range` of the in-focus image at size S.
    own_range, common_range : numpy.ndarray, shape (N, 2)
        Intensities of the in-focus image at 0 and 1, at size S and on the common grid.
    common : Grid
        Its size: the area mean of larger restorations, bicubic for smaller ones.

    Returns
    -------
    numpy.ndarray, shape (N, common size, common size)
        In units of the common grid's in-focus image; a perfect restoration equals it but for the resizing.
    """
    size = (common.size, common.size)
    method = cv2.INTER_AREA if restored.shape[1] > common.size else cv2.INTER_CUBIC
    resized = (
        restored if restored.shape[1] == common.size else np.stack([cv2.resize(image, size, interpolation=method) for image in restored])
    )
    low, high = own_range[:, 0], own_range[:, 1]
    common_low, common_high = common_range[:, 0], common_range[:, 1]
    gain = ((high - low) / (common_high - common_low)).astype(np.float32)
    offset = ((low - common_low) / (common_high - common_low)).astype(np.float32)
    return resized * gain[:, None, None] + offset[:, None, None]


def model_restorer(predict: Restore, *, patch_size: int, inference: str) -> Restore:
    """Return a function that restores images, shape (N, S, S): at once, or patch by patch and stitched.

    Parameters
    ----------
    predict : callable
        The network on "NYXC" arrays, of the patch's size if `inference` is stitched, else of the image's.
    patch_size : int
        Side of the patches that are stitched.
    inference : str
        ``whole`` or ``stitched``.
    """

    def restore(images: np.ndarray) -> np.ndarray:
        if inference == "stitched":
            return stitch_patches(predict(split_patches(images, patch_size)[..., None])[..., 0], images.shape[1])
        return predict(images[..., None])[..., 0]

    return restore


def score_model(restore: Restore, store: Store, *, grid: Grid, common: Grid, fields: Sequence[int], judged_on: str) -> Score:
    """Score restorations of all levels of some fields, field by field.

    Parameters
    ----------
    restore : callable
        Images in [0, 1], shape (N, S, S) -> restorations of the same shape.
    store : Store
        The prepared images.
    grid, common : Grid
        The restorer's own size, and the grid on which all are compared.
    fields : sequence of int
        Indices of the fields.
    judged_on : str
        ``validation`` or ``test``: what `fields` are.
    """
    own: list[dict[str, np.ndarray]] = []
    shared: list[dict[str, np.ndarray]] = []
    every = np.arange(len(store.levels))
    for field in fields:
        restored = restore(store.as_float(grid, field, every))
        target, own_range, common_target, common_range = _targets(store, grid, common, field, len(every))
        own.append(measure(target, restored, names=OWN_METRICS))
        shared.append(measure(common_target, to_common_grid(restored, own_range, common_range, common)))
    return _collect(own, shared, store, fields, judged_on)


def score_classical(method: Method, store: Store, *, grid: Grid, common: Grid, fields: Sequence[int], judged_on: str) -> Score:
    """Score a classical method on defocused images that are each normalised by their own range; see `score_model`."""
    own: list[dict[str, np.ndarray]] = []
    shared: list[dict[str, np.ndarray]] = []
    every = np.arange(len(store.levels))
    for field in fields:
        for rows, on, names in ((own, grid, OWN_METRICS), (shared, common, METRICS)):
            images = store.as_float(on, field, every)
            target = np.repeat(images[store.in_focus_index][None], len(every), axis=0)
            rows.append(measure(target, method(images, target), names=names))
    return _collect(own, shared, store, fields, judged_on)


def score_ceiling(store: Store, *, grid: Grid, common: Grid, fields: Sequence[int], judged_on: str) -> Score:
    """Score a perfect restoration at one size on the common grid: what no model of that size can exceed."""
    own: list[dict[str, np.ndarray]] = []
    shared: list[dict[str, np.ndarray]] = []
    for field in fields:
        target, own_range, common_target, common_range = _targets(store, grid, common, field, 1)
        for rows, reference, restored, names in (
            (own, target, target, OWN_METRICS),
            (shared, common_target, to_common_grid(target, own_range, common_range, common), METRICS),
        ):
            measured = measure(reference, restored, names=names)
            rows.append({name: np.repeat(values, len(store.levels)) for name, values in measured.items()})
    return _collect(own, shared, store, fields, judged_on)


def rung_score(
    restore: Restore, store: Store, *, grid: Grid, common: Grid, fields: Sequence[int], images: int, seed: int
) -> dict[str, float]:
    """Score a fixed sample of defocused images on the common grid: cheap, and the same images for all trials."""
    pairs = [(field, level) for field in fields for level in store.defocused_indices]
    chosen = np.random.default_rng(seed).permutation(len(pairs))[:images]
    totals: dict[str, list[float]] = {"ssim": [], "psnr": []}
    for start in range(0, len(chosen), 8):
        field, level = np.array([pairs[index] for index in chosen[start : start + 8]]).T
        restored = restore(store.as_float(grid, field, level))
        focus = np.full(len(field), store.in_focus_index)
        ranges = store.ranges(grid)[field, focus], store.ranges(common)[field, focus]
        scored = measure(store.as_float(common, field, focus), to_common_grid(restored, *ranges, common), names=tuple(totals))
        for name, values in scored.items():
            totals[name].extend(values)
    return {name: float(np.mean(values)) for name, values in totals.items()}


def _targets(store: Store, grid: Grid, common: Grid, field: int, count: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return the in-focus image on both grids, each with its range, repeated for `count` levels."""
    repeated = []
    for on in (grid, common):
        image = store.as_float(on, field, store.in_focus_index)
        repeated.append(np.repeat(image[None], count, axis=0))
        repeated.append(np.repeat(store.ranges(on)[field, store.in_focus_index][None], count, axis=0))
    return repeated[0], repeated[1], repeated[2], repeated[3]


def _collect(
    own: list[dict[str, np.ndarray]],
    shared: list[dict[str, np.ndarray]],
    store: Store,
    fields: Sequence[int],
    judged_on: str,
) -> Score:
    defocused = store.defocused_indices
    table = {name: np.stack([row[name] for row in shared]) for name in METRICS}  # (field, level)
    return Score(
        judged_on=judged_on,
        levels=list(store.levels),
        common={name: values.mean(axis=0).tolist() for name, values in table.items()},
        own={name: np.mean([row[name] for row in own], axis=0).tolist() for name in OWN_METRICS},
        fields=[store.fields[field] for field in fields],
        wells=[store.wells[field] for field in fields],
        by_field={name: table[name][:, defocused].mean(axis=1).tolist() for name in METRICS},
        summary={name: float(table[name][:, defocused].mean()) for name in METRICS},
    )
