"""What a search asks for: one number of a score, higher is better."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np


def quality(
    objective: str,
    metrics: Mapping[str, np.ndarray],
    levels: np.ndarray,
    weights: Mapping[int, float] | None = None,
) -> float:
    """Return the objective of some scored images.

    Parameters
    ----------
    objective : str
        One of `study.config.QUALITIES`: the mean over images of a metric; `worst_`, of the level
        with the lowest mean; `penalized_`, less the `harm` that is done, beside which differences
        between good networks are small.
    metrics : mapping
        ``ssim``, ``psnr``, ``mse`` of each image and ``defocused_mse``, that of the unrestored
        input, shape (N,); nan is left out.
    levels : numpy.ndarray, shape (N,)
        The level of each image.
    weights : mapping, optional
        Level -> weight in the mean, but not in the harm; 1 for a level that is not named.
    """
    kind, _, metric = objective.rpartition("_")
    scored = ~np.isnan(metrics[metric])
    metrics, levels = {name: values[scored] for name, values in metrics.items()}, levels[scored]
    values = metrics[metric]
    if kind == "worst":
        return float(min(values[levels == level].mean() for level in np.unique(levels)))
    weight = np.array(
        [1.0 if weights is None else float(weights.get(int(level), 1.0)) for level in levels]
    )
    mean = float((values * weight).sum() / weight.sum())
    return (
        mean - harm(metrics["mse"], metrics["defocused_mse"], levels)
        if kind == "penalized"
        else mean
    )


def harm(mse: np.ndarray, defocused_mse: np.ndarray, levels: np.ndarray) -> float:
    """Return by what share the squared error of a level grows, 0 where it shrinks, in the mean over
    levels.

    Parameters
    ----------
    mse, defocused_mse : numpy.ndarray, shape (N,)
        Of each image restored, and unrestored; a level that cannot be improved, its error being 0,
        is left out.
    levels : numpy.ndarray, shape (N,)
        The level of each image.
    """
    sums = [
        (mse[levels == level].sum(), defocused_mse[levels == level].sum())
        for level in np.unique(levels)
    ]
    grown = [max(0.0, after / before - 1) for after, before in sums if before > 0]
    return float(np.mean(grown)) if grown else 0.0
