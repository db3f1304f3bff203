"""Metrics against scikit-image in float64."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage
from skimage.metrics import (
    mean_squared_error,
    normalized_root_mse,
    peak_signal_noise_ratio,
    structural_similarity,
)

from study.trial import metrics
from study.trial.evaluation import measure


def random_pairs(count: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(1)
    x = np.stack(
        [ndimage.gaussian_filter(rng.random((48, 40)), rng.uniform(0, 3)) for _ in range(count)]
    )
    x = (x - x.min()) / np.ptp(x)
    return x, np.clip(x + rng.normal(0, 1, x.shape) * rng.uniform(0, 0.3, (count, 1, 1)), 0, 1)


def bright_flat_pairs(count: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(2)
    return 1 - 1e-3 * rng.random((count, 48, 40)), 1 - 1e-3 * rng.random((count, 48, 40))


ORACLES = {
    "mse": lambda x, y: mean_squared_error(x, y),
    "rmse": lambda x, y: np.sqrt(mean_squared_error(x, y)),
    "nrmse": lambda x, y: normalized_root_mse(x, y, normalization="euclidean"),
    "psnr": lambda x, y: peak_signal_noise_ratio(x, y, data_range=1.0),
    "ssim": lambda x, y: structural_similarity(x, y, data_range=1.0),
    "ssim at range 2": lambda x, y: structural_similarity(x, y, data_range=2.0),
}
OURS = {
    "mse": metrics.mse,
    "rmse": metrics.rmse,
    "nrmse": metrics.nrmse,
    "psnr": lambda x, y: metrics.psnr(x, y, data_range=1.0),
    "ssim": lambda x, y: metrics.ssim(x, y, data_range=1.0),
    "ssim at range 2": lambda x, y: metrics.ssim(x, y, data_range=2.0),
}


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("name", list(OURS))
def test_equal_to_scikit_image_on_200_random_pairs(name: str, dtype: type) -> None:
    x, y = (images.astype(dtype) for images in random_pairs(200))
    expected = [
        ORACLES[name](one.astype(np.float64), other.astype(np.float64))
        for one, other in zip(x, y, strict=True)
    ]
    assert np.abs(OURS[name](x, y) - expected).max() < 1e-6


@pytest.mark.parametrize("name", list(OURS))
def test_equal_to_scikit_image_on_bright_flat_pairs(name: str) -> None:
    x, y = bright_flat_pairs(50)
    expected = [ORACLES[name](one, other) for one, other in zip(x, y, strict=True)]
    assert np.abs(OURS[name](x, y) - expected).max() < 5e-6


def test_many_images_are_worked_on_in_parts() -> None:
    x, y = random_pairs(3)
    x, y = np.tile(x, (40, 1, 1)), np.tile(y, (40, 1, 1))
    np.testing.assert_array_equal(
        metrics.ssim(x, y, data_range=1.0), np.tile(metrics.ssim(x[:3], y[:3], data_range=1.0), 40)
    )


def test_identical_images() -> None:
    x, _ = random_pairs(2)
    assert (metrics.psnr(x, x, data_range=1.0) == np.inf).all()
    np.testing.assert_allclose(metrics.ssim(x, x, data_range=1.0), 1, atol=1e-7)


def test_nothing_is_guessed_or_broadcast() -> None:
    x = np.zeros((2, 8, 8))
    with pytest.raises(TypeError):
        metrics.ssim(x, x)  # type: ignore[call-arg]
    with pytest.raises(ValueError, match="data_range"):
        metrics.psnr(x, x, data_range=0)
    with pytest.raises(ValueError, match="shape"):
        metrics.mse(x, x[:1])
    with pytest.raises(ValueError, match="7 px"):
        metrics.ssim(x[:, :6, :6], x[:, :6, :6], data_range=1.0)


def test_scale_invariant_scores_against_numpys_least_squares_and_scikit_image() -> None:
    """The definition of Weigert et al. 2018, as CAREamics has it, where the target spans [0, 1]."""
    x, y = (images.astype(np.float32) for images in random_pairs(100))
    y = y * np.linspace(0.2, 3, 100, dtype=np.float32)[:, None, None] - np.float32(0.3)
    y[-1] = 1 - y[-1]  # upside down: its best gain is negative
    measured = measure(x, y, names=("si_ssim", "si_psnr"))
    for index, (target, restored) in enumerate(zip(x.astype(float), y.astype(float), strict=True)):
        columns = np.stack([restored.ravel(), np.ones(restored.size)], axis=1)
        solution, *_ = np.linalg.lstsq(columns, target.ravel(), rcond=None)
        fitted = (columns @ solution).reshape(target.shape)
        ssim = structural_similarity(target, fitted, data_range=1.0)
        psnr = peak_signal_noise_ratio(target, fitted, data_range=1.0)
        assert measured["si_ssim"][index] == pytest.approx(ssim, abs=1e-6)
        assert measured["si_psnr"][index] == pytest.approx(psnr, abs=1e-5)


def test_a_flat_restoration_has_the_scale_invariant_scores_of_its_targets_mean() -> None:
    x, _ = random_pairs(2)
    measured = measure(x, np.full_like(x, 0.9))
    means = np.broadcast_to(x.mean(axis=(1, 2), keepdims=True), x.shape)
    assert measured["si_psnr"] == pytest.approx(-10 * np.log10(x.var(axis=(1, 2))), abs=1e-6)
    assert measured["si_ssim"] == pytest.approx(metrics.ssim(x, means, data_range=1.0), abs=1e-6)
    assert np.isfinite(measured["si_ssim"]).all()


def test_a_gain_and_an_offset_change_no_scale_invariant_score() -> None:
    x, y = random_pairs(10)
    first, other = measure(x, y), measure(x, 0.4 * y + 0.3)
    assert (np.abs(first["psnr"] - other["psnr"]) > 0.1).all()
    for name in ("si_ssim", "si_psnr"):
        np.testing.assert_allclose(first[name], other[name], atol=1e-5)
    assert (
        first["si_psnr"] >= first["psnr"] - 1e-6
    ).all()  # nothing comes closer than the best fit
