"""Made-up scores, and the example restorations that a trial leaves."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from study.score import Score


def make_score(
    ssim: np.ndarray,
    levels: Sequence[int],
    *,
    in_focus: int,
    eval_split: str = "test",
    fields_per_well: int = 1,
    **own: float,
) -> Score:
    """Return a score by its SSIM.

    Parameters
    ----------
    ssim : numpy.ndarray, shape (fields, levels)
        PSNR follows it; nan where an image was not scored.
    levels : sequence of int
        The columns.
    in_focus : int
        The level that no mean counts.
    eval_split : str
        The images.
    fields_per_well : int
        How many neighbouring fields are of one well.
    **own : float
        Means of metrics at the model's own size; 0.5 but for SSIM, which is the same.
    """
    evaluation = {"ssim": ssim, "psnr": 20 + 10 * ssim, "nrmse": 1 - ssim, "mse": (1 - ssim) / 10}
    evaluation |= {"si_ssim": (1 + ssim) / 2, "si_psnr": 23 + 10 * ssim}
    constant = ("mse", "rmse", "nrmse", "psnr", "ssim_range2", "cells_bias")
    sizes = {name: np.full(ssim.shape, own.get(name, 0.5)) for name in constant}
    sizes["cells_bias"] += 0.05 * (ssim - np.nanmean(ssim))  # as noisy as SSIM
    defocused = [index for index, level in enumerate(levels) if level != in_focus]
    means = {name: float(np.nanmean(of[:, defocused])) for name, of in evaluation.items()}
    return Score(
        eval_split=eval_split,
        levels=list(levels),
        fields=[f"f{index}" for index in range(len(ssim))],
        wells=[f"w{index // fields_per_well}" for index in range(len(ssim))],
        evaluation={name: of.tolist() for name, of in evaluation.items()},
        own={name: of.tolist() for name, of in (sizes | {"ssim": ssim}).items()},
        summary={**means, "rmse": 0.1, "objective": means["ssim"]},
    )


def write_examples(folder: Path, levels: Sequence[int], *, size: int, name: str) -> None:
    """Leave example restorations as a trial does."""
    folder.mkdir(parents=True, exist_ok=True)
    images = np.random.default_rng(size).integers(0, 255, (2, len(levels), size, size))
    defocused, restored = images.astype(np.uint8)
    arrays: dict[str, Any] = {"levels": np.array(levels), "field": np.array("w0")}
    arrays |= {"defocused": defocused, "restored": restored, "in_focus": defocused[0]}
    np.savez(folder / name, **arrays)
