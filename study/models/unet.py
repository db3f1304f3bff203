"""The family ``unet``: what the paper's two networks do not have, each part switched by a
hyperparameter.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import keras
from keras import layers, ops

# of batch normalisation's statistics: after some ten steps they are those of the images, so that an
# early score means something
MOMENTUM = 0.9
CONTEXT = 32  # numbers that describe an image
NORMALISATIONS = {
    "batch": lambda: layers.BatchNormalization(momentum=MOMENTUM),
    "layer": layers.LayerNormalization,
}


def unet(inputs: Any, hyperparameters: Mapping[str, Any], output_activation: str) -> Any:
    """Build an encoder and a decoder with skips between them (Ronneberger et al., 2015,
    doi:10.1007/978-3-319-24574-4_28).

    With ``global_context`` a description of all that the network is given scales the decoder's
    channels, see `_describe`.

    Parameters
    ----------
    inputs : keras tensor, "NYXC"
        Images in [0, 1].
    hyperparameters : mapping
        See `search_spaces.beyond`.
    output_activation : str
        Of the last layer of a network that is not ``residual``.

    Returns
    -------
    keras tensor, "NYXC"
        With ``residual`` what is added to the input, unbounded; otherwise the output activation's.
    """
    widths = [
        int(hyperparameters["unet_filters"]) * int(hyperparameters["growth"]) ** level
        for level in range(int(hyperparameters["depth"]) + 1)
    ]
    tensor, skips = inputs, []
    for width in widths[:-1]:
        tensor = _block(tensor, width, hyperparameters)
        skips.append(tensor)
        tensor = layers.MaxPooling2D(2)(tensor)
    tensor = _block(tensor, widths[-1], hyperparameters)
    if hyperparameters["dropout"]:
        tensor = layers.SpatialDropout2D(hyperparameters["dropout"])(tensor)
    context = _describe([*skips, tensor]) if hyperparameters.get("global_context", False) else None
    for width, skip in zip(reversed(widths[:-1]), reversed(skips), strict=True):
        tensor = _upsample(tensor, width, hyperparameters)
        if hyperparameters["skip"] == "add":
            tensor = layers.Add()([tensor, skip])
        elif hyperparameters["skip"] == "concat":
            tensor = layers.Concatenate()([tensor, skip])
        tensor = _block(tensor, width, hyperparameters)
        if context is not None:  # begins as leaving every channel as it is
            scale = layers.Dense(width, kernel_initializer="zeros", bias_initializer="ones")(
                context
            )
            tensor = layers.Multiply()([tensor, scale])
    if hyperparameters["residual"]:  # begins as doing nothing
        correction = layers.Conv2D(
            1, 3, padding="same", kernel_initializer="zeros", dtype="float32"
        )(tensor)
        return layers.Add(dtype="float32")([inputs, correction])
    return layers.Conv2D(1, 3, padding="same", activation=output_activation, dtype="float32")(
        tensor
    )


def _block(tensor: Any, width: int, hyperparameters: Mapping[str, Any]) -> Any:
    for _ in range(int(hyperparameters["convolutions"])):
        tensor = layers.Conv2D(width, int(hyperparameters["kernel"]), padding="same")(tensor)
        if hyperparameters["normalisation"] != "none":
            tensor = NORMALISATIONS[hyperparameters["normalisation"]]()(tensor)
        tensor = layers.Activation(hyperparameters["activation"])(tensor)
    return tensor


def _describe(encoded: list[Any]) -> Any:
    """Describe all that the network is given, a crop in training, by the mean of each of the
    encoder's channels, shape (N, 1, 1, `CONTEXT`).

    How blurred an image is can be told from all its edges together better than from each; channels
    are weighed by it as in squeeze-and-excitation (Hu et al., 2018, doi:10.1109/CVPR.2018.00745).
    Normalised, for the means also grow with the number of cells.
    """
    means = layers.Concatenate()(
        [layers.GlobalAveragePooling2D(keepdims=True)(tensor) for tensor in encoded]
    )
    return layers.Dense(CONTEXT, activation="relu")(layers.LayerNormalization()(means))


def _upsample(tensor: Any, width: int, hyperparameters: Mapping[str, Any]) -> Any:
    if hyperparameters["upsampling"] == "transpose":
        return layers.Conv2DTranspose(width, 3, strides=2, padding="same")(tensor)
    if hyperparameters["upsampling"] == "resize":
        return layers.Conv2D(width, 3, padding="same")(layers.UpSampling2D(2)(tensor))
    return DepthToSpace()(layers.Conv2D(4 * width, 3, padding="same")(tensor))


class DepthToSpace(layers.Layer):
    """Rearrange channels into pixels: (N, Y, X, 4 C) -> (N, 2 Y, 2 X, C) (Shi et al., 2016,
    doi:10.1109/CVPR.2016.207).
    """

    def call(self, inputs: Any) -> Any:
        """Rearrange."""
        return ops.nn.depth_to_space(inputs, 2)

    def compute_output_spec(self, inputs: Any) -> Any:
        """Return the shape and type of the result."""
        count, height, width, channels = inputs.shape
        return keras.KerasTensor((count, 2 * height, 2 * width, channels // 4), inputs.dtype)
