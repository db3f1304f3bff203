"""Deconvolutions on images whose truth is known."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage
from skimage import restoration

from study.data.layouts import bbbc005
from study.trial import classical
from study.trial.classical import DECONVOLUTIONS, total_variation, wiener

KERNEL = bbbc005.blur_kernel(17)
MILD = np.outer([0.2, 0.6, 0.2], [0.2, 0.6, 0.2])  # no frequency is lost


def disks() -> np.ndarray:
    rng, (y, x) = np.random.default_rng(0), np.mgrid[:90, :100]
    image = np.full((90, 100), 0.1)
    for _ in range(6):
        centre, radius = rng.uniform(20, 70, 2), rng.uniform(5, 10)
        image[np.hypot(y - centre[0], x - centre[1]) < radius] = rng.uniform(0.5, 1)
    return image


def blur(image: np.ndarray, kernel: np.ndarray, *, noise: float = 0.0) -> np.ndarray:
    blurred = ndimage.convolve(image, kernel, mode="nearest")
    return blurred + np.random.default_rng(1).normal(0, noise, image.shape)


def error(restored: np.ndarray, image: np.ndarray) -> float:
    return float(np.sqrt(np.square(restored - image).mean()))


@pytest.mark.parametrize("name", list(DECONVOLUTIONS))
def test_a_blurred_image_comes_nearer_with_some_parameter_and_all_differ(name: str) -> None:
    image, method = disks(), DECONVOLUTIONS[name]
    blurred = blur(image, KERNEL, noise=0.004)
    restored = list(method.restore_each(blurred, KERNEL, method.grid))
    errors = [error(one, image) for one in restored]
    assert len(set(errors)) == len(method.grid)
    share = {"unsharp mask": 0.9, "Wiener": 0.75, "Richardson-Lucy": 0.8, "total variation": 0.6}
    assert min(errors) < share[name] * error(blurred, image)
    assert {one.shape for one in restored} == {image.shape}


@pytest.mark.parametrize("name", list(DECONVOLUTIONS))
def test_a_parameter_on_its_own_is_as_among_others(name: str) -> None:
    method, blurred = DECONVOLUTIONS[name], blur(disks(), KERNEL)
    among = list(method.restore_each(blurred, KERNEL, method.grid))
    for value, expected in zip(method.grid, among, strict=True):
        (alone,) = method.restore_each(blurred, KERNEL, [value])
        np.testing.assert_array_equal(alone, expected)


def test_wiener_is_scikit_images_far_from_the_border() -> None:
    """Compared on an image that fades into its mean, where no padding matters."""
    image = np.zeros((96, 108))
    image[40:52, 45:60] = 1
    blurred = blur(image, KERNEL)
    for balance in (1e-2, 1.0):
        (ours,) = wiener(blurred, KERNEL, [balance])
        theirs = restoration.wiener(blurred, KERNEL, balance=balance, clip=False)
        assert np.abs(ours - theirs)[30:-30, 30:-30].max() < 5e-3


def test_padding_spares_the_border() -> None:
    """A ramp has its darkest beside its brightest where an image is taken to be periodic."""
    ramp = np.tile(np.linspace(0, 1, 96), (96, 1))
    unpadded = restoration.wiener(ramp, KERNEL, balance=1e-2, clip=False)
    (padded,) = wiener(ramp, KERNEL, [1e-2])
    assert error(padded, ramp) < 0.1 * error(unpadded, ramp)


def test_total_variation_without_a_weight_is_the_inverse_filter() -> None:
    image = disks()
    (restored,) = total_variation(blur(image, MILD), MILD, [1e-9])
    assert error(restored, image) < 2e-3
    assert error(blur(image, MILD), image) > 0.03


def test_every_step_of_total_variation_lowers_its_energy(monkeypatch: pytest.MonkeyPatch) -> None:
    blurred, weight = blur(disks(), KERNEL, noise=0.01), 1e-2

    def energy(image: np.ndarray) -> float:
        misfit = ndimage.convolve(image, KERNEL, mode="nearest") - blurred
        gradient = np.hypot(
            *(np.diff(image, axis=axis, append=image.take([-1], axis)) for axis in (0, 1))
        )
        return float(np.square(misfit).sum() / 2 + weight * gradient.sum())

    energies = [energy(blurred)]
    for steps in (3, 10, 30, 100):
        monkeypatch.setattr(classical, "TV_ITERATIONS", steps)
        (restored,) = total_variation(blurred, KERNEL, [weight])
        energies.append(energy(restored.astype(float)))
    assert energies == sorted(energies, reverse=True)
    assert energies[-2] < 1.05 * energies[-1]  # 30 steps are nearly enough


def test_a_flat_image_stays_flat() -> None:
    for method in DECONVOLUTIONS.values():
        for restored in method.restore_each(np.full((40, 50), 0.4), KERNEL, method.grid):
            np.testing.assert_allclose(restored, 0.4, atol=1e-4, err_msg=method.name)
    for method in DECONVOLUTIONS.values():  # and a black one
        for restored in method.restore_each(np.zeros((40, 50)), KERNEL, method.grid):
            np.testing.assert_allclose(restored, 0, atol=1e-6, err_msg=method.name)
