"""A trained network on an image that no study has seen."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from study.data.prepare import normalise, resize_image
from study.data.store import FULL_SCALE, Resolution
from study.trial.device import exact_products
from study.trial.inference import load_model, read_description


@dataclass(frozen=True)
class Restorer:
    """A network with the preparation that it was trained with.

    Parameters
    ----------
    predict : images in [0, 1], "NYXC", of the resolution's size -> restorations of the same shape.
    resolution : the size that the network sees images at.
    normalisation : what a pair was to it in training, see `study.data.store.Store`.
    """

    predict: Callable[[np.ndarray], np.ndarray]
    resolution: Resolution
    normalisation: str = "own"

    def restore(self, image: np.ndarray) -> np.ndarray:
        """Restore one grey image, shape (Y, X); the result has its shape and its unit of intensity,
        float32.

        The image is brought to the network's size, normalised by its own minimum and maximum,
        restored, and brought back: detail finer than the network's size is lost. 0 and 1 of the
        restoration are given the image's own minimum and maximum. Of a network of the normalisation
        ``own`` it is kept between them, for the range of an in-focus image is not known; one of
        ``pair`` restores intensities, which may leave the image's range.
        """
        scaled, low, high = normalise(resize_image(image, self.resolution))
        with exact_products():
            restored = np.asarray(
                self.predict(scaled[None, ..., None].astype(np.float32) / np.float32(FULL_SCALE))
            )[0, ..., 0]
        back = cv2.resize(
            restored.astype(np.float32),
            (image.shape[1], image.shape[0]),
            interpolation=cv2.INTER_CUBIC,
        )
        kept = np.clip(back, 0, 1) if self.normalisation == "own" else back
        return (kept * (high - low) + low).astype(np.float32)


def as_type(restored: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """Return a restoration in the type of its image's file: rounded, and cut to what that holds,
    where it is one of unsigned integers.
    """
    if dtype.kind != "u":
        return restored
    limits = np.iinfo(dtype)
    return np.clip(restored.round(), limits.min, limits.max).astype(dtype)


def load_restorer(folder: Path) -> Restorer:
    """Load the network that a trial left in its folder: weights and JSON alone, nothing that could
    run code.
    """
    described = read_description(folder)
    resolution = Resolution(int(described["hyperparameters"]["image_size"]), described["resize"])
    predict = load_model(folder, size=resolution.size).predict_on_batch
    return Restorer(predict, resolution, described["normalisation"])
