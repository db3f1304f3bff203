"""Training losses: each takes in-focus and restored images, "NYXC" in [0, 1], and returns one value
an image, shape (N,).

`msssim_l1` follows Zhao, Gallo, Frosio and Kautz, "Loss functions for image restoration with neural
networks", IEEE Transactions on Computational Imaging 3(1), 47-57, 2017,
doi:10.1109/TCI.2016.2644865, equations 9 to 14, as their own code computes it: five Gaussians at
full resolution, all exponents 1.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import lru_cache, partial
from typing import Any

import numpy as np
from keras import ops

SIGMAS_PX = (0.5, 1.0, 2.0, 4.0, 8.0)
TRUNCATE = 3.5  # a Gaussian ends at so many sigmas, as in scikit-image's structural_similarity
C1, C2 = 0.01**2, 0.03**2  # for a data range of 1
ALPHA = 0.84
# below it, or 50 dB, an image counts less and less in a relative loss
FLOORS = {"l1": 3e-3, "l2": 1e-5, "msssim_l1": 3e-3}

Loss = Callable[[Any, Any], Any]


def l1(target: Any, restored: Any) -> Any:
    """Mean absolute error."""
    return ops.mean(ops.abs(target - restored), axis=(1, 2, 3))


def l2(target: Any, restored: Any) -> Any:
    """Mean squared error."""
    return ops.mean(ops.square(target - restored), axis=(1, 2, 3))


def msssim_l1(target: Any, restored: Any, *, alpha: float = ALPHA) -> Any:
    """Return ``alpha * (1 - MS-SSIM) + (1 - alpha) * L1``, for square images whose side is 29 px at
    least.

    MS-SSIM is computed at every pixel and averaged. The images are continued by reflection, for
    which the Gaussian-weighted L1 of the source, averaged over the image, is the plain L1. A
    Gaussian filter with reflection is a product with a fixed matrix on each side of the image; that
    is several times faster than a convolution.
    """
    size = int(restored.shape[1])
    x, y = ops.squeeze(ops.cast(target, restored.dtype), axis=-1), ops.squeeze(restored, axis=-1)
    # variances do not change with it, and lose fewer digits without it
    level_x = ops.mean(x, axis=(1, 2), keepdims=True)
    level_y = ops.stop_gradient(ops.mean(y, axis=(1, 2), keepdims=True))
    x, y = x - level_x, y - level_y
    filters = ops.convert_to_tensor(gaussian_matrices(size), dtype=restored.dtype)
    # apart: it needs no gradient
    mean_x, mean_xx = ops.unstack(_filter(ops.stack([x, x * x]), filters))
    mean_y, mean_yy, mean_xy = ops.unstack(_filter(ops.stack([y, y * y, x * y]), filters))
    contrast = (2 * (mean_xy - mean_x * mean_y) + C2) / (
        mean_xx - mean_x**2 + mean_yy - mean_y**2 + C2
    )
    wide_x, wide_y = mean_x[-1] + level_x, mean_y[-1] + level_y
    luminance = (2 * wide_x * wide_y + C1) / (wide_x**2 + wide_y**2 + C1)
    ms_ssim = ops.mean(luminance * ops.prod(contrast, axis=0), axis=(1, 2))
    return alpha * (1 - ms_ssim) + (1 - alpha) * l1(target, restored)


def relative(loss: Loss, floor: float) -> Loss:
    """Return the loss ``log(1 + loss / floor)``, shape (N,): an image counts by how much its loss
    changes as a share of itself.

    Otherwise images near the focus, whose L1 is ten times smaller and whose L2 a hundred times,
    hardly count. Of L2 it is the PSNR, but for a factor (Chen et al., 2021, "HINet",
    arXiv:2105.06086, train with that).

    Parameters
    ----------
    loss : callable
        One of `LOSSES`.
    floor : float
        In the units of `loss`: an image whose loss is below it counts less and less, for the last
        digits are noise.
    """
    return lambda target, restored: ops.log1p(loss(target, restored) / floor)


def _filter(moments: Any, filters: Any) -> Any:
    """Filter maps, shape (M, N, S, S), with each of the matrices, shape (5, S, S): shape (M, 5, N,
    S, S).
    """
    filters = ops.expand_dims(filters, (0, 2))
    rows = ops.matmul(filters, ops.expand_dims(moments, 1))
    return ops.matmul(rows, ops.transpose(filters, (0, 1, 2, 4, 3)))


@lru_cache(maxsize=8)
def gaussian_matrices(size: int) -> np.ndarray:
    """Return, for each sigma, the matrix that filters a signal of `size` samples, continued by
    reflection.

    Returns
    -------
    numpy.ndarray, shape (5, size, size)
        Each row sums to 1.
    """
    matrices = np.zeros((len(SIGMAS_PX), size, size), np.float64)
    for matrix, sigma in zip(matrices, SIGMAS_PX, strict=True):
        radius = int(TRUNCATE * sigma + 0.5)
        taps = np.exp(-0.5 * (np.arange(-radius, radius + 1) / sigma) ** 2)
        taps /= taps.sum()
        for offset, weight in zip(range(-radius, radius + 1), taps, strict=True):
            position = (np.arange(size) + offset) % (2 * size)
            reflected = np.where(position < size, position, 2 * size - 1 - position)
            np.add.at(matrix, (np.arange(size), reflected), weight)
    return matrices.astype(np.float32)


def loss_of(hyperparameters: Mapping[str, Any]) -> Loss:
    """Return the loss that a configuration names: ``loss``, for MS-SSIM + L1 ``alpha``
    (0.84 if it is not searched), ``relative_loss``.
    """
    name = hyperparameters["loss"]
    loss = (
        partial(msssim_l1, alpha=float(hyperparameters.get("alpha", ALPHA)))
        if name == "msssim_l1"
        else LOSSES[name]
    )
    return relative(loss, FLOORS[name]) if hyperparameters.get("relative_loss", False) else loss


LOSSES: dict[str, Loss] = {"l1": l1, "l2": l2, "msssim_l1": msssim_l1}
