"""What a network must beat: restorations that learn nothing.

Each takes defocused images and their in-focus image, both in [0, 1] and of shapes (N, Y, X), and returns "restorations".
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

Method = Callable[[np.ndarray, np.ndarray], np.ndarray]


def do_nothing(defocused: np.ndarray, in_focus: np.ndarray) -> np.ndarray:
    """Return the defocused images themselves."""
    return defocused


def best_affine_fit(defocused: np.ndarray, in_focus: np.ndarray) -> np.ndarray:
    """Return ``gain * defocused + offset`` with the gain and offset of each image that come closest to its target.

    Normalising by the minimum and maximum lets one bright object set the scale of an image. This takes that out of a
    comparison: no change of intensities alone has a smaller mean squared error. It knows the target, as no restoration
    does.
    """
    x, y = (images.reshape(len(images), -1).astype(np.float64) for images in (defocused, in_focus))
    mean_x, mean_y = x.mean(axis=1, keepdims=True), y.mean(axis=1, keepdims=True)
    spread = np.square(x - mean_x).mean(axis=1, keepdims=True)
    gain = ((x - mean_x) * (y - mean_y)).mean(axis=1, keepdims=True) / np.where(spread > 0, spread, 1.0)
    return (gain * (x - mean_x) + mean_y).reshape(defocused.shape).astype(np.float32)


METHODS: dict[str, Method] = {"do-nothing": do_nothing, "do-nothing, best affine fit": best_affine_fit}
