from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from study.data.store import Resolution
from study.files import read_image
from study.trial.restoring import Restorer, load_restorer
from tests.small_trials import Trained


def test_an_image_keeps_its_shape_and_its_range() -> None:
    image = np.random.default_rng(0).uniform(100, 4000, (60, 80)).astype(np.uint16)
    mirrored = Restorer(lambda images: 1 - images, Resolution(16, "antialiased")).restore(image)
    same = Restorer(lambda images: images, Resolution(16, "antialiased")).restore(image)
    assert mirrored.shape == same.shape == image.shape
    np.testing.assert_allclose(mirrored + same, same.min() + same.max(), rtol=0.02)
    assert image.min() <= same.min()
    assert same.max() <= image.max()


def test_an_image_is_resized_in_its_own_type_as_the_networks_images_were() -> None:
    image = (np.random.default_rng(0).random((60, 80)) > 0.5).astype(np.uint8) * np.uint8(250)
    seen: list[np.ndarray] = []

    def keep(images: np.ndarray) -> np.ndarray:
        seen.append(images)
        return images

    Restorer(keep, Resolution(16, "paper")).restore(image)
    resized = cv2.resize(image, (16, 16), interpolation=cv2.INTER_CUBIC).astype(np.float64)
    np.testing.assert_allclose(
        seen[0][0, ..., 0], (resized - resized.min()) / np.ptp(resized), atol=1 / 65535
    )


def test_a_trials_weights_restore_a_raw_image_as_the_trial_did(
    patch_trial: Trained, raw_folder: Path
) -> None:
    loaded = load_restorer(patch_trial.folder)
    with np.load(patch_trial.folder / "examples.npz", allow_pickle=False) as examples:
        field, level = str(examples["field"]), int(examples["levels"][0])
        expected = examples["restored"][0] / 255
    image = read_image(next((raw_folder / f"BBBC006_v1_images_z_{level:02d}").glob(f"*_{field}_*")))
    seen: list[np.ndarray] = []

    def predict(images: np.ndarray) -> np.ndarray:
        seen.append(np.asarray(loaded.predict(images)))
        return seen[0]

    restored = Restorer(predict, loaded.resolution).restore(image)
    np.testing.assert_allclose(seen[0][0, ..., 0], expected, atol=1 / 255)
    assert restored.shape == image.shape
