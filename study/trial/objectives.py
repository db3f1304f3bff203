"""What a search asks for: one number of a score, higher is better."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np


def quality(objective: str, metrics: Mapping[str, np.ndarray], levels: np.ndarray, weights: Mapping[int, float] | None = None) -> float:
    """Return the objective of some scored images.

    Parameters
    ----------
    objective : str
        One of `study.config.QUALITIES`; `worst_` takes the level with the lowest mean, the others the mean over images.
    metrics : mapping
        ``ssim`` and ``psnr`` of each image, shape (N,); nan is left out.
    levels : numpy.ndarray, shape (N,)
        The level of each image.
    weights : mapping, optional
        Level -> weight in the mean; 1 for a level that is not named.
    """
    values = metrics[objective.removeprefix("worst_")]
    levels, values = levels[~np.isnan(values)], values[~np.isnan(values)]
    if objective.startswith("worst_"):
        return float(min(values[levels == level].mean() for level in np.unique(levels)))
    weight = np.array([1.0 if weights is None else float(weights.get(int(level), 1.0)) for level in levels])
    return float((values * weight).sum() / weight.sum())
