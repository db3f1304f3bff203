"""Image metrics on batches of images, shape (N, Y, X) -> shape (N,), equal to scikit-image's on
each pair.

Nothing is clipped, and no data range is guessed from a dtype. Results are float64.
"""

from __future__ import annotations

import numpy as np

SSIM_WINDOW_PX = 7
_K1, _K2 = 0.01, 0.03
_CHUNK_PIXELS = 1 << 16  # a quarter of a megabyte of float32: what is worked on stays in the cache


def mse(target: np.ndarray, restored: np.ndarray) -> np.ndarray:
    """Mean squared error of restored images, in squared units of intensity.

    Parameters
    ----------
    target, restored : numpy.ndarray, shape (N, Y, X)
        In-focus images and their restorations.

    Returns
    -------
    numpy.ndarray, shape (N,)

    Raises
    ------
    ValueError
        If the shapes differ or are not (N, Y, X).

    Examples
    --------
    >>> mse(np.zeros((1, 2, 2)), np.full((1, 2, 2), 0.5))
    array([0.25])
    """
    _check_pair(target, restored)
    difference = np.asarray(target, np.float64) - np.asarray(restored, np.float64)
    return np.square(difference, out=difference).mean(axis=(1, 2))


def rmse(target: np.ndarray, restored: np.ndarray) -> np.ndarray:
    """Root mean squared error, in units of intensity; see `mse`.

    Examples
    --------
    >>> rmse(np.zeros((1, 2, 2)), np.full((1, 2, 2), 0.5))
    array([0.5])
    """
    return np.sqrt(mse(target, restored))


def nrmse(target: np.ndarray, restored: np.ndarray) -> np.ndarray:
    """Root mean squared error over the root mean square of the in-focus image (scikit-image's
    `euclidean`).

    The paper's column "RMSE" behaves as this one. ``inf`` where an in-focus image is 0 everywhere;
    see `mse`.

    Examples
    --------
    >>> nrmse(np.ones((1, 2, 2)), np.full((1, 2, 2), 0.5))
    array([0.5])
    """
    error = rmse(target, restored)
    with np.errstate(divide="ignore", invalid="ignore"):
        return error / np.sqrt(np.square(np.asarray(target, np.float64)).mean(axis=(1, 2)))


def psnr(target: np.ndarray, restored: np.ndarray, *, data_range: float) -> np.ndarray:
    """Peak signal-to-noise ratio of restored images, in decibels.

    Parameters
    ----------
    target, restored : numpy.ndarray, shape (N, Y, X)
        In-focus images and their restorations, in the units of `data_range`.
    data_range : float
        Span of valid intensities: 1.0 after scaling to [0, 1]. Never inferred from the dtype.

    Returns
    -------
    numpy.ndarray, shape (N,)
        Decibels; ``inf`` where the images are identical.

    Raises
    ------
    ValueError
        If the shapes differ or `data_range` is not positive.

    Examples
    --------
    >>> sharp = np.zeros((1, 2, 2))
    >>> psnr(sharp, sharp + 0.1, data_range=1.0).round(6)
    array([20.])
    """
    _check_range(data_range)
    error = mse(target, restored)
    with np.errstate(divide="ignore"):
        return 10.0 * np.log10(data_range**2 / error)


def ssim(target: np.ndarray, restored: np.ndarray, *, data_range: float) -> np.ndarray:
    """Structural similarity, as scikit-image defines it by default: 7 x 7 uniform window, sample
    covariance.

    The mean over all windows that lie inside the image (the border of 3 px is left out). Box sums
    are taken in float32 on images with their mean removed, so that bright flat images lose no
    digits.

    Parameters
    ----------
    target, restored : numpy.ndarray, shape (N, Y, X), Y and X at least 7
        In-focus images and their restorations, in the units of `data_range`.
    data_range : float
        Span of valid intensities. Older releases of scikit-image took 2 for images of floats.

    Returns
    -------
    numpy.ndarray, shape (N,)
        At most 1.

    Raises
    ------
    ValueError
        If the shapes differ, an image is smaller than the window, or `data_range` is not positive.

    References
    ----------
    Wang, Bovik, Sheikh, Simoncelli, IEEE Transactions on Image Processing 13(4), 600-612, 2004,
    equation 13, doi:10.1109/TIP.2003.819861.

    Examples
    --------
    >>> image = np.arange(64.0).reshape(1, 8, 8) / 64
    >>> ssim(image, image, data_range=1.0)
    array([1.])
    """
    _check_range(data_range)
    _check_pair(target, restored)
    if min(target.shape[1:]) < SSIM_WINDOW_PX:
        raise ValueError(
            f"SSIM needs images of {SSIM_WINDOW_PX} px a side at least; got {target.shape[1:]}"
        )
    step = max(1, _CHUNK_PIXELS // (target.shape[1] * target.shape[2]))
    chunks = [
        _ssim_chunk(target[start : start + step], restored[start : start + step], data_range)
        for start in range(0, len(target), step)
    ]
    return np.concatenate(chunks) if chunks else np.empty(0)


def fit_intensities(target: np.ndarray, restored: np.ndarray) -> np.ndarray:
    """Return ``gain * restored + offset`` with the gain and offset of each image that come closest
    to its target in least squares.

    A flat image becomes its target's mean. SSIM and PSNR of what is returned are scale-invariant:
    the same for all restorations that differ by a gain and an offset.

    Parameters
    ----------
    target, restored : numpy.ndarray, shape (N, Y, X)
        In-focus images and their restorations.

    Returns
    -------
    numpy.ndarray, shape (N, Y, X)
        float32.

    Raises
    ------
    ValueError
        If the shapes differ or are not (N, Y, X).

    References
    ----------
    Weigert et al., Nature Methods 15, 1090-1097, 2018, supplementary note 2,
    doi:10.1038/s41592-018-0216-7.

    Examples
    --------
    >>> sharp = np.array([[[0.0, 1.0], [0.5, 0.0]]])
    >>> fit_intensities(sharp, 3 * sharp - 1)
    array([[[0. , 1. ],
            [0.5, 0. ]]], dtype=float32)
    """
    _check_pair(target, restored)
    y, x = (np.array(images, np.float64).reshape(len(images), -1) for images in (target, restored))
    mean_y, mean_x = y.mean(axis=1, keepdims=True), x.mean(axis=1, keepdims=True)
    x -= mean_x
    y -= mean_y  # both: what rounding leaves of a flat image must not be stretched
    covariance = np.einsum("ni,ni->n", x, y)[:, None]
    energy = np.einsum("ni,ni->n", x, x)[:, None]
    x *= covariance / np.where(energy > 0, energy, 1.0)
    x += mean_y
    return x.reshape(restored.shape).astype(np.float32)


def _ssim_chunk(target: np.ndarray, restored: np.ndarray, data_range: float) -> np.ndarray:
    shift = target.mean(axis=(1, 2), keepdims=True, dtype=np.float64).astype(np.float32)
    x = (target - shift).astype(np.float32, copy=False)
    y = (restored - shift).astype(np.float32, copy=False)
    samples = SSIM_WINDOW_PX**2
    unbiased = np.float32(samples / (samples - 1))
    mean_x, mean_y = _box_mean(x), _box_mean(y)
    energy = unbiased * (_box_mean(x * x + y * y) - mean_x * mean_x - mean_y * mean_y)
    covariance = unbiased * (_box_mean(x * y) - mean_x * mean_y)
    mean_x, mean_y = mean_x + shift, mean_y + shift
    c1, c2 = np.float32((_K1 * data_range) ** 2), np.float32((_K2 * data_range) ** 2)
    luminance = (2 * mean_x * mean_y + c1) / (mean_x * mean_x + mean_y * mean_y + c1)
    structure = (2 * covariance + c2) / (energy + c2)
    return (luminance * structure).mean(axis=(1, 2), dtype=np.float64)


def _box_mean(images: np.ndarray) -> np.ndarray:
    """Mean over each window inside the images, by sums of slices along one axis and then the
    other.
    """
    rows, columns = (side - SSIM_WINDOW_PX + 1 for side in images.shape[1:])
    total = images[:, :rows].copy()
    for shift in range(1, SSIM_WINDOW_PX):
        total += images[:, shift : shift + rows]
    result = total[:, :, :columns].copy()
    for shift in range(1, SSIM_WINDOW_PX):
        result += total[:, :, shift : shift + columns]
    result *= np.float32(1 / SSIM_WINDOW_PX**2)
    return result


def _check_pair(target: np.ndarray, restored: np.ndarray) -> None:
    if target.shape != restored.shape or target.ndim != 3:
        raise ValueError(
            f"images must be two arrays of shape (N, Y, X); got {target.shape} and {restored.shape}"
        )


def _check_range(data_range: float) -> None:
    if not data_range > 0:
        raise ValueError(f"data_range must be positive; got {data_range}")
