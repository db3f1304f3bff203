"""Hyperparameters -> network: the paper's two families at any depth and number of filters."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import keras
from keras import layers

from study.errors import StudyError

Hyperparameters = Mapping[str, Any]


def build(hyperparameters: Hyperparameters, *, size: int | None = None) -> keras.Model:
    """Build the network that a point of a search space describes.

    Parameters
    ----------
    hyperparameters : mapping
        ``family`` (whole or split), ``depth`` (how often the image is halved), ``filters`` (of the first layer),
        ``image_size`` and, for split, ``patch_size``.
    size : int, optional
        Side of the input; what the network is trained on if not given. The weights do not depend on it.

    Returns
    -------
    keras.Model
        "NYXC" in [0, 1] -> "NYXC" in [0, 1], of the same shape.

    Raises
    ------
    StudyError
        If the size can not be halved `depth` times and come back to itself.
    """
    size = patch_size_of(hyperparameters) if size is None else size
    depth = int(hyperparameters["depth"])
    if size % 2**depth:
        raise StudyError(f"depth {depth} halves an image {depth} times: its size must be a multiple of {2**depth}; got {size}")
    inputs = keras.Input((size, size, 1))
    outputs = FAMILIES[hyperparameters["family"]](inputs, depth, int(hyperparameters["filters"]))
    return keras.Model(inputs, outputs, name=f"{hyperparameters['family']}_image_autoencoder")


def patch_size_of(hyperparameters: Hyperparameters) -> int:
    """Return the side of what the network is trained on: the patch, or the whole image where there is none."""
    return int(hyperparameters.get("patch_size", hyperparameters["image_size"]))


def _whole(inputs: Any, depth: int, filters: int) -> Any:
    """Filters double at each halving; transposed convolutions bring the size back; batch normalisation between pairs."""
    widths = [filters * 2**level for level in range(depth)]
    tensor = inputs
    for level, width in enumerate(widths):
        tensor = layers.BatchNormalization()(tensor) if level else tensor
        tensor = layers.Conv2D(width, 3, padding="same", activation="relu")(tensor)
        tensor = layers.MaxPooling2D(2)(tensor)
    for level, width in enumerate(reversed(widths)):
        tensor = layers.BatchNormalization()(tensor) if level else tensor
        tensor = layers.Conv2DTranspose(width, 3, strides=2, padding="same", activation="elu")(tensor)
    return layers.Conv2D(1, 3, padding="same", activation="sigmoid")(tensor)


def _split(inputs: Any, depth: int, filters: int) -> Any:
    """All layers have the same filters; the outermost activations are sigmoid, the inner ones relu."""
    activations = ["sigmoid", *["relu"] * (depth - 1)]
    tensor = inputs
    for activation in activations:
        tensor = layers.Conv2D(filters, 3, padding="same", activation=activation)(tensor)
        tensor = layers.MaxPooling2D(2)(tensor)
    for activation in reversed(activations):
        tensor = layers.Conv2D(filters, 3, padding="same", activation=activation)(tensor)
        tensor = layers.UpSampling2D(2)(tensor)
    return layers.Conv2D(1, 3, padding="same", activation="sigmoid")(tensor)


FAMILIES: dict[str, Callable[[Any, int, int], Any]] = {"whole": _whole, "split": _split}
