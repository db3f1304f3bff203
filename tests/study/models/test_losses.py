from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from study.models.losses import ALPHA, LOSSES, SIGMAS_PX, gaussian_matrices, loss_of

RNG = np.random.default_rng(0)


def evaluate(name: str, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return keras.ops.convert_to_numpy(
        LOSSES[name](tf.constant(x[..., None], tf.float32), tf.constant(y[..., None], tf.float32))
    )


def msssim_l1_by_scikit_image(x: np.ndarray, y: np.ndarray) -> float:
    """Zhao et al., equation 14, from scikit-image's maps: K1 or K2 so large that the other factor
    is left alone.
    """
    evaluation: dict[str, Any] = {
        "data_range": 1.0,
        "gaussian_weights": True,
        "use_sample_covariance": False,
        "full": True,
    }
    product = np.ones_like(x)
    for sigma in SIGMAS_PX:
        product *= structural_similarity(x, y, sigma=sigma, K1=1e6, K2=0.03, **evaluation)[1]
    product *= structural_similarity(x, y, sigma=SIGMAS_PX[-1], K1=0.01, K2=1e6, **evaluation)[1]
    return float(ALPHA * (1 - product.mean()) + (1 - ALPHA) * np.abs(x - y).mean())


def pairs(size: int) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    noise = RNG.random((2, size, size))
    return {
        "noise": (noise, RNG.random((2, size, size))),
        "zeros": (np.zeros((2, size, size)), np.zeros((2, size, size))),
        "constants": (np.full((2, size, size), 0.25), np.full((2, size, size), 0.75)),
        "zero against noise": (np.zeros((2, size, size)), noise),
        "anti-correlated": (noise, 1 - noise),
        "identical": (noise, noise),
    }


@pytest.mark.parametrize("name", sorted(LOSSES))
@pytest.mark.parametrize("size", [64, 128, 256])
def test_losses_and_gradients_are_finite(name: str, size: int) -> None:
    for what, (x, y) in pairs(size).items():
        restored = tf.Variable(y[..., None].astype(np.float32))
        with tf.GradientTape() as tape:
            value = tf.reduce_mean(LOSSES[name](tf.constant(x[..., None], tf.float32), restored))
        gradient = tape.gradient(value, restored).numpy()
        assert np.isfinite(value.numpy()), what
        assert np.isfinite(gradient).all(), what
        assert value.numpy() >= -1e-6, what


@pytest.mark.parametrize("name", sorted(LOSSES))
def test_one_value_an_image_and_zero_for_a_perfect_restoration(name: str) -> None:
    x = RNG.random((3, 64, 64))
    assert evaluate(name, x, RNG.random((3, 64, 64))).shape == (3,)
    np.testing.assert_allclose(evaluate(name, x, x), 0, atol=2e-6)


def test_l1_and_l2_by_hand() -> None:
    x, y = np.zeros((1, 64, 64)), np.zeros((1, 64, 64))
    y[0, :32] = 0.5
    np.testing.assert_allclose(evaluate("l1", x, y), 0.25)
    np.testing.assert_allclose(evaluate("l2", x, y), 0.125)


@pytest.mark.parametrize("name", sorted(LOSSES))
def test_in_a_relative_loss_an_image_counts_by_the_share_of_its_loss(name: str) -> None:
    x = tf.constant(RNG.random((2, 64, 64, 1)), tf.float32)
    near_and_far = tf.constant([0.02, 0.2], tf.float32)[:, None, None, None] * tf.constant(
        RNG.standard_normal((1, 64, 64, 1)), tf.float32
    )
    relative, plain = loss_of({"loss": name, "relative_loss": True}), LOSSES[name]
    np.testing.assert_allclose(relative(x, x), 0, atol=1e-3)

    def pull(loss: Any) -> np.ndarray:
        """How much each image's loss falls if its error does by a hundredth."""
        return np.asarray(loss(x, x + near_and_far) - loss(x, x + 0.99 * near_and_far))

    near, far = pull(relative)
    assert 0.4 < near / far < 1.6
    near, far = pull(plain)
    assert near < 0.2 * far


def test_a_relative_l2_is_the_psnr() -> None:
    x, error = RNG.random((2, 64, 64, 1)), np.array([0.2, 0.05])[:, None, None, None]
    values = np.asarray(
        loss_of({"loss": "l2", "relative_loss": True})(tf.constant(x), tf.constant(x + error))
    )
    psnr = [
        peak_signal_noise_ratio(one, one + by, data_range=1.0)
        for one, by in zip(x, error, strict=True)
    ]
    assert (values[0] - values[1]) * 10 / np.log(10) == pytest.approx(psnr[1] - psnr[0], abs=0.02)
    at_50_db = loss_of({"loss": "l2", "relative_loss": True})(
        tf.constant(x), tf.constant(x + 10**-2.5)
    )
    np.testing.assert_allclose(at_50_db, np.log(2), rtol=1e-4)


@pytest.mark.parametrize("size", [64, 128])
@pytest.mark.parametrize("what", ["noise", "constants", "zero against noise", "anti-correlated"])
def test_msssim_l1_against_scikit_image(size: int, what: str) -> None:
    x, y = pairs(size)[what]
    expected = [msssim_l1_by_scikit_image(one, other) for one, other in zip(x, y, strict=True)]
    np.testing.assert_allclose(evaluate("msssim_l1", x, y), expected, atol=5e-6)


def test_filter_matrices_by_hand_at_an_edge() -> None:
    row = gaussian_matrices(64)[0][
        0
    ]  # sigma 0.5: taps at -2 .. 2, the two outside reflected onto samples 0 and 1
    taps = np.exp(-0.5 * (np.arange(-2, 3) / 0.5) ** 2)
    taps /= taps.sum()
    np.testing.assert_allclose(row[:3], [taps[2] + taps[1], taps[3] + taps[0], taps[4]], rtol=1e-5)
    np.testing.assert_allclose(gaussian_matrices(64).sum(axis=2), 1, rtol=1e-5)
