from __future__ import annotations

import cv2
import numpy as np
import pytest
from scipy.signal import convolve2d

from study.data.optics import blur_kernel
from study.data.simulate import blur_synthetic, defocus


@pytest.mark.parametrize("blur", [4, 7, 10, 23, 48])
def test_the_kernel_of_bbbc005_is_the_filter_that_made_its_levels(blur: int) -> None:
    image = np.random.default_rng(0).integers(0, 255, (70, 80)).astype(np.uint8)
    kernel = blur_kernel("bbbc005", blur)
    assert kernel.shape[0] % 2 == 1
    assert kernel.sum() == pytest.approx(1)
    blurred = np.floor(convolve2d(image.astype(float), kernel, mode="same") + 0.5)
    np.testing.assert_array_equal(blurred, blur_synthetic(image, blur))


def test_the_kernel_of_bbbc006_is_the_gaussian_that_defocuses() -> None:
    image = cv2.GaussianBlur(np.random.default_rng(0).random((160, 160)), (0, 0), 3)
    blurred = convolve2d(image, blur_kernel("bbbc006", 20), mode="same")
    np.testing.assert_allclose(
        blurred[30:-30, 30:-30], defocus(image, 8.0)[30:-30, 30:-30], atol=2e-3 * image.max()
    )
    assert blur_kernel("bbbc006", 16).shape == (1, 1)
