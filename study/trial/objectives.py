"""What a search asks for: one number of a score, higher is better."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np


def quality(objective: str, metrics: Mapping[str, np.ndarray], levels: np.ndarray, weights: Mapping[int, float] | None = None) -> float:
    """Return the objective of some scored images.

    Parameters
    ----------
    objective : str
        One of `study.config.QUALITIES`; `worst_` takes the level with the lowest mean, the others the mean over images. `skill` is the
        share of do-nothing's squared error that is gone, ``1 - mse / defocused_mse``: 1 is perfect, 0 is doing nothing, and harm is
        below 0 without an end (Murphy, 1988, doi:10.1175/1520-0493(1988)116<2417:SSBOTM>2.0.CO;2).
    metrics : mapping
        ``ssim``, ``psnr``, ``mse`` of each image and ``defocused_mse``, that of doing nothing, shape (N,); nan is left out.
    levels : numpy.ndarray, shape (N,)
        The level of each image.
    weights : mapping, optional
        Level -> weight in the mean; 1 for a level that is not named.
    """
    values = _skill(metrics) if objective == "skill" else metrics[objective.removeprefix("worst_")]
    levels, values = levels[~np.isnan(values)], values[~np.isnan(values)]
    if objective.startswith("worst_"):
        return float(min(values[levels == level].mean() for level in np.unique(levels)))
    weight = np.array([1.0 if weights is None else float(weights.get(int(level), 1.0)) for level in levels])
    return float((values * weight).sum() / weight.sum())


def _skill(metrics: Mapping[str, np.ndarray]) -> np.ndarray:
    """Return the skill of each image; nan where the defocused image is the one in focus, to which nothing can be done."""
    nothing = np.where(metrics["defocused_mse"] > 0, metrics["defocused_mse"], np.nan)
    return np.asarray(1 - metrics["mse"] / nothing)
