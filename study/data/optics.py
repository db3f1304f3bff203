"""The blur of each data set's levels, as far as it is known."""

from __future__ import annotations

import numpy as np

from study.data.bbbc006 import DISTANCE_UM, IN_FOCUS_LEVEL

# BBBC006, native pixels, measured on real planes below focus: 4.75, 8.25, 12.0, 15.5 px at 8, 16,
# 24, 32 um
SIGMA_PX_PER_UM = 0.48


def synthetic_taps(blur: int) -> np.ndarray:
    """Return BBBC005's filter of level `blur` along one axis, shape (blur,): a Gaussian of sigma
    ``floor(blur / 4 + 0.5)``.

    Equal to every real image of F 23 and F 48. Those two do not decide how a sigma of n + 0.5 is
    rounded at F 10, 26, 42 (rounding half to even) or 17, 29, 45 (rounding up).
    """
    sigma_px = np.floor(blur / 4 + 0.5)
    taps = np.exp(-((np.arange(blur) - (blur - 1) / 2) ** 2) / (2 * sigma_px**2))
    return np.asarray(taps / taps.sum())


def defocus_sigma(distance_um: float) -> float:
    """Return the sigma, in native pixels, of the Gaussian that stands for BBBC006 so far out of
    focus.
    """
    return SIGMA_PX_PER_UM * distance_um


def blur_kernel(kind: str, level: int) -> np.ndarray:
    """Return the known blur of a level at native pixels, shape (K, K), K odd, sum 1; the in-focus
    level's is a single pixel.

    To convolve with. An even filter of BBBC005 gets a row and a column of zeros, which shift it by
    half a pixel as the data set does.
    """
    if kind == "bbbc005":
        taps = synthetic_taps(level)
        taps = taps if level % 2 else np.append(taps, 0.0)
    else:
        sigma_px = defocus_sigma(abs(level - IN_FOCUS_LEVEL) * DISTANCE_UM)
        radius = int(np.ceil(3 * sigma_px))
        taps = np.exp(-0.5 * (np.arange(-radius, radius + 1) / max(sigma_px, 1e-6)) ** 2)
        taps /= taps.sum()
    return np.outer(taps, taps)
