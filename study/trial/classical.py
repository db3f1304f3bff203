"""What a network must beat: restorations that learn nothing.

A `Method` takes defocused images and their in-focus image, both in [0, 1], shape (N, Y, X).
`DECONVOLUTIONS` take one image as the camera gave it, shape (Y, X), in [0, 1] of its range, and the
true blur: more than any network is told.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from skimage import filters, restoration

from study.trial.metrics import fit_intensities

WIENER_BALANCE = 1e-3
RICHARDSON_LUCY_ITERATIONS = 30
Method = Callable[[np.ndarray, np.ndarray], np.ndarray]


def unrestored_input(defocused: np.ndarray, in_focus: np.ndarray) -> np.ndarray:
    """Return the defocused images themselves."""
    return defocused


def best_affine_fit(defocused: np.ndarray, in_focus: np.ndarray) -> np.ndarray:
    """Return ``gain * defocused + offset`` with the gain and offset of each image that come closest
    to its target.

    Normalising by the minimum and maximum lets one bright object set the scale of an image. This
    takes that out of a comparison: no change of intensities alone has a smaller mean squared error.
    It knows the target, as no restoration does.
    """
    return fit_intensities(in_focus, defocused)


def unsharp_mask(image: np.ndarray, kernel: np.ndarray) -> np.ndarray:
    """Add what a Gaussian of the blur's own width takes away (`skimage.filters.unsharp_mask`,
    amount 1).
    """
    return np.asarray(
        filters.unsharp_mask(image, radius=_sigma(kernel), amount=1.0, preserve_range=True)
    )


def wiener(image: np.ndarray, kernel: np.ndarray) -> np.ndarray:
    """Deconvolve by a Wiener filter with the known kernel (`skimage.restoration.wiener`)."""
    return np.asarray(restoration.wiener(image, kernel, balance=WIENER_BALANCE, clip=False))


def richardson_lucy(image: np.ndarray, kernel: np.ndarray) -> np.ndarray:
    """Deconvolve after Richardson (1972, doi:10.1364/JOSA.62.000055) and Lucy with the known kernel
    (`skimage.restoration`).
    """
    return np.asarray(
        restoration.richardson_lucy(image, kernel, num_iter=RICHARDSON_LUCY_ITERATIONS, clip=False)
    )


def _sigma(kernel: np.ndarray) -> float:
    """Return the standard deviation of a kernel along one axis, in pixels."""
    line, place = kernel.sum(axis=0), np.arange(len(kernel))
    return float(np.sqrt((line * (place - (line * place).sum()) ** 2).sum()))


DECONVOLUTIONS: dict[str, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {
    "unsharp mask": unsharp_mask,
    "Wiener": wiener,
    "Richardson-Lucy": richardson_lucy,
}
