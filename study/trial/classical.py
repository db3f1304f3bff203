"""What a network must beat: restorations that learn nothing.

A `Method` takes defocused images and their in-focus image, both in [0, 1], shape (N, Y, X).
A `Deconvolution` takes one image as the camera gave it, shape (Y, X), in [0, 1] of its range, and
the true blur: more than any network is told. What it can be tuned by is chosen on validation.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import fft, ndimage

from study.trial.metrics import fit_intensities

TV_ITERATIONS = 30
TV_STEP = 0.01  # the least gradient that is kept: what a weight is divided by to be the penalty
LEAST_LIGHT = 1e-6  # of an image's range, where Richardson and Lucy divide by an image
Method = Callable[[np.ndarray, np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Deconvolution:
    """A classical restoration with one parameter.

    Parameters
    ----------
    name : str
        The name that people read.
    parameter : str
        What its parameter is.
    grid : tuple of float
        The values to choose from, ascending.
    restore_each : callable
        Image, shape (Y, X), kernel, shape (K, K), and values of the parameter, ascending -> the
        restoration with each of them. All together take less than each on its own.
    """

    name: str
    parameter: str
    grid: tuple[float, ...]
    restore_each: Callable[[np.ndarray, np.ndarray, Sequence[float]], Iterator[np.ndarray]]


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


def unsharp_mask(
    image: np.ndarray, kernel: np.ndarray, amounts: Sequence[float]
) -> Iterator[np.ndarray]:
    """Yield an image with so many times what a Gaussian of the blur's own width takes away from it
    added.
    """
    image = image.astype(np.float32)
    detail = image - ndimage.gaussian_filter(image, _sigma(kernel), mode="nearest")
    for amount in amounts:
        yield image + np.float32(amount) * detail


def wiener(
    image: np.ndarray, kernel: np.ndarray, balances: Sequence[float]
) -> Iterator[np.ndarray]:
    """Yield what a Wiener filter with the known kernel makes of an image: the Laplacian stands for
    the noise over the signal, and the balance for its weight, as in `skimage.restoration.wiener`.
    """
    blurred = _Blurred(image, kernel)
    for balance in balances:
        filtered = blurred.correlated / (
            blurred.power + np.float32(balance) * np.square(blurred.laplacian)
        )
        yield blurred.crop(blurred.to_image(filtered))


def richardson_lucy(
    image: np.ndarray, kernel: np.ndarray, iterations: Sequence[float]
) -> Iterator[np.ndarray]:
    """Yield what so many iterations with the known kernel make of an image; it begins with the
    image itself.

    References
    ----------
    Richardson, Journal of the Optical Society of America 62, 55-59, 1972,
    doi:10.1364/JOSA.62.000055; Lucy, The Astronomical Journal 79, 745-754, 1974,
    doi:10.1086/111605.
    """
    blurred = _Blurred(image, kernel)
    restored = seen = np.maximum(blurred.image, 0)
    for iteration in range(1, int(max(iterations)) + 1):
        expected = blurred.to_image(fft.rfft2(restored) * blurred.transfer)
        ratio = seen / np.maximum(expected, LEAST_LIGHT)
        correction = blurred.to_image(fft.rfft2(ratio) * np.conj(blurred.transfer))
        restored = restored * np.maximum(correction, 0)
        if iteration in iterations:
            yield blurred.crop(restored)


def total_variation(
    image: np.ndarray, kernel: np.ndarray, weights: Sequence[float]
) -> Iterator[np.ndarray]:
    """Yield the image x for which ``|kernel * x - image|^2 / 2 + weight * |gradient of x|`` is
    small, the length of the gradient summed over all pixels.

    The gradient is a variable of its own, held to x by the method of multipliers, so that each step
    is a division of spectra and a shrinkage; `TV_ITERATIONS` steps.

    References
    ----------
    Rudin, Osher, Fatemi, Physica D 60, 259-268, 1992, doi:10.1016/0167-2789(92)90242-F; Chan et
    al., IEEE Transactions on Image Processing 20(11), 3097-3111, 2011, algorithm 1,
    doi:10.1109/TIP.2011.2158229.
    """
    blurred = _Blurred(image, kernel)
    for weight in weights:
        penalty = np.float32(weight / TV_STEP)
        divisor = blurred.power + penalty * blurred.laplacian
        restored = blurred.image
        gradient = multiplier = np.zeros((2, *restored.shape), np.float32)
        for _ in range(TV_ITERATIONS):
            back = fft.rfft2(_gradient_transposed(gradient - multiplier))
            restored = blurred.to_image((blurred.correlated + penalty * back) / divisor)
            multiplier = multiplier + _gradient(restored)
            length = np.sqrt(np.square(multiplier).sum(axis=0))
            kept = np.maximum(1 - TV_STEP / np.maximum(length, TV_STEP), 0)
            gradient = multiplier * kept.astype(np.float32)
            multiplier = multiplier - gradient
        yield blurred.crop(restored)


class _Blurred:
    """A padded image and its blur, as spectra.

    Each side is padded by the kernel's whole size at least: half of it is what the blur mixes into
    an image, and a filter that undoes a blur reaches farther than the blur.
    """

    def __init__(self, image: np.ndarray, kernel: np.ndarray) -> None:
        self._shape = image.shape
        self.image = _pad(image.astype(np.float32), 2 * len(kernel))
        point = np.zeros(self.image.shape, np.float32)
        point[: len(kernel), : len(kernel)] = kernel
        centre = len(kernel) // 2
        self.transfer = fft.rfft2(np.roll(point, (-centre, -centre), axis=(0, 1)))
        self.power = np.square(np.abs(self.transfer))
        self.correlated = np.conj(self.transfer) * fft.rfft2(self.image)
        rows, columns = (2 * np.pi * fft.fftfreq(side) for side in self.image.shape)
        columns = columns[: self.transfer.shape[1]]
        laplacian = 4 - 2 * np.cos(rows)[:, None] - 2 * np.cos(columns)
        self.laplacian = laplacian.astype(np.float32)  # the negative one: not below 0

    def to_image(self, spectrum: np.ndarray) -> np.ndarray:
        """Return the padded image of a spectrum."""
        return np.asarray(fft.irfft2(spectrum, self.image.shape))

    def crop(self, padded: np.ndarray) -> np.ndarray:
        """Return what lies where the image was."""
        return padded[: self._shape[0], : self._shape[1]]


def _pad(image: np.ndarray, margin: int) -> np.ndarray:
    """Lengthen an image along both axes by `margin` or a little more, to lengths that are fast to
    transform: from its last line evenly to its first, which follows it there.
    """
    for axis in (0, 1):
        length = image.shape[axis]
        added = fft.next_fast_len(length + margin, real=True) - length
        share = np.linspace(0, 1, added + 2, dtype=image.dtype)[1:-1]
        share = share[:, None] if axis == 0 else share
        first, last = np.take(image, [0], axis), np.take(image, [length - 1], axis)
        image = np.concatenate([image, last + (first - last) * share], axis)
    return image


def _gradient(image: np.ndarray) -> np.ndarray:
    """Differences to the next pixel along both axes, periodic, shape (2, Y, X)."""
    return np.stack([np.roll(image, -1, axis) - image for axis in (0, 1)])


def _gradient_transposed(gradient: np.ndarray) -> np.ndarray:
    """The transposed operator of `_gradient`."""
    rows, columns = gradient
    return np.roll(rows, 1, 0) - rows + np.roll(columns, 1, 1) - columns


def _sigma(kernel: np.ndarray) -> float:
    """Return the standard deviation of a kernel along one axis, in pixels."""
    line, place = kernel.sum(axis=0), np.arange(len(kernel))
    return float(np.sqrt((line * (place - (line * place).sum()) ** 2).sum()))


DECONVOLUTIONS: dict[str, Deconvolution] = {
    method.name: method
    for method in (
        Deconvolution("unsharp mask", "amount", (0.5, 1, 2, 4), unsharp_mask),
        Deconvolution(
            "Wiener", "balance", tuple(10 ** (half / 2) for half in range(-8, 3)), wiener
        ),
        Deconvolution("Richardson-Lucy", "iterations", (3, 10, 30, 100), richardson_lucy),
        Deconvolution("total variation", "weight", (1e-5, 1e-4, 1e-3, 1e-2, 0.1), total_variation),
    )
}
