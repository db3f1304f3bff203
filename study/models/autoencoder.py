"""Hyperparameters -> network: the paper's two families at any depth and number of filters, and the
family ``unet``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import keras
import numpy as np
from keras import layers

from study.errors import StudyError
from study.models.unet import unet

Hyperparameters = Mapping[str, Any]
PAPERS_GROWTH = {"whole": 2, "split": 1}  # filters double at each halving, or stay


def build(
    hyperparameters: Hyperparameters,
    *,
    size: int | None = None,
    precision: str = "float32",
    output_activation: str = "sigmoid",
) -> keras.Model:
    """Build the network that the hyperparameters of a search space describe.

    Parameters
    ----------
    hyperparameters : mapping
        ``family`` (whole, split or unet), ``depth`` (how often the image is halved), ``filters``
        (of the first layer), ``growth`` (of the filters at each halving), ``image_size`` and, for
        split, ``patch_size``; for unet see `search_spaces.beyond`.
    size : int, optional
        Side of the input; what the network is trained on if not given. The weights do not depend on
        it.
    precision : str
        What it computes in: a Keras dtype policy, float32 or mixed_bfloat16. Weights and output are
        float32 in both.
    output_activation : str
        Of the last layer: sigmoid, or linear where targets leave [0, 1]. A residual network adds to
        its input and has none.

    Returns
    -------
    keras.Model
        "NYXC" in [0, 1] -> "NYXC" of the same shape, in [0, 1] after a sigmoid.

    Raises
    ------
    StudyError
        If the size cannot be halved `depth` times and come back to itself.
    """
    size = patch_size_of(hyperparameters) if size is None else size
    depth = int(hyperparameters["depth"])
    if size % 2**depth:
        raise StudyError(
            f"depth {depth} halves an image {depth} times: its size must be a multiple of"
            f" {2**depth}; got {size}"
        )
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(precision)
    try:
        inputs = keras.Input((size, size, 1))
        outputs = FAMILIES[hyperparameters["family"]](inputs, hyperparameters, output_activation)
        return keras.Model(inputs, outputs, name=f"{hyperparameters['family']}_image_autoencoder")
    finally:
        keras.config.set_dtype_policy(before)


def count_operations(hyperparameters: Hyperparameters) -> int:
    """Count the floating-point operations (two for each product) that the convolutions of one whole
    image take.
    """
    model, total = build(hyperparameters, size=int(hyperparameters["image_size"])), 0
    for layer in model.layers:
        if isinstance(layer, layers.Conv2D | layers.Conv2DTranspose):
            places = layer.input if isinstance(layer, layers.Conv2DTranspose) else layer.output
            total += 2 * int(np.prod(layer.kernel.shape)) * int(np.prod(places.shape[1:3]))
    return total


def count_training_operations(hyperparameters: Hyperparameters, *, patches: int) -> int:
    """Count the floating-point operations of training on so many patches: three times those of
    restoring them.
    """
    share = (patch_size_of(hyperparameters) / int(hyperparameters["image_size"])) ** 2
    return round(3 * patches * share * count_operations(hyperparameters))


def patch_size_of(hyperparameters: Hyperparameters) -> int:
    """Return the side of what the network is trained on: the patch or crop, or the whole image
    where there is none.
    """
    return int(
        hyperparameters.get(
            "patch_size", hyperparameters.get("crop_size", hyperparameters["image_size"])
        )
    )


def _widths(hyperparameters: Hyperparameters) -> list[int]:
    growth = int(hyperparameters.get("growth", PAPERS_GROWTH[hyperparameters["family"]]))
    return [
        int(hyperparameters["filters"]) * growth**level
        for level in range(int(hyperparameters["depth"]))
    ]


def _whole(inputs: Any, hyperparameters: Hyperparameters, output_activation: str) -> Any:
    """Transposed convolutions bring the size back; batch normalisation between pairs. The paper's
    filters double (growth 2).
    """
    widths = _widths(hyperparameters)
    tensor = inputs
    for level, width in enumerate(widths):
        tensor = layers.BatchNormalization()(tensor) if level else tensor
        tensor = layers.Conv2D(width, 3, padding="same", activation="relu")(tensor)
        tensor = layers.MaxPooling2D(2)(tensor)
    for level, width in enumerate(reversed(widths)):
        tensor = layers.BatchNormalization()(tensor) if level else tensor
        tensor = layers.Conv2DTranspose(width, 3, strides=2, padding="same", activation="elu")(
            tensor
        )
    return layers.Conv2D(1, 3, padding="same", activation=output_activation, dtype="float32")(
        tensor
    )


def _split(inputs: Any, hyperparameters: Hyperparameters, output_activation: str) -> Any:
    """The outermost activations are sigmoid, the inner ones relu. The paper's layers have the same
    filters (growth 1).
    """
    widths = _widths(hyperparameters)
    activations = ["sigmoid", *["relu"] * (len(widths) - 1)]
    tensor = inputs
    for width, activation in zip(widths, activations, strict=True):
        tensor = layers.Conv2D(width, 3, padding="same", activation=activation)(tensor)
        tensor = layers.MaxPooling2D(2)(tensor)
    for width, activation in zip(reversed(widths), reversed(activations), strict=True):
        tensor = layers.Conv2D(width, 3, padding="same", activation=activation)(tensor)
        tensor = layers.UpSampling2D(2)(tensor)
    return layers.Conv2D(1, 3, padding="same", activation=output_activation, dtype="float32")(
        tensor
    )


FAMILIES: dict[str, Callable[[Any, Hyperparameters, str], Any]] = {
    "whole": _whole,
    "split": _split,
    "unet": unet,
}
