"""The paper's two networks, written out layer by layer from its section 4: what the builder is held
against.

Raureanu, "Transfer Learning For Cell Image Reconstruction", 35th Twente Student Conference on IT,
2021.
"""

from __future__ import annotations

import keras
from keras import layers


def whole_image_autoencoder(image_size: int = 128) -> keras.Model:
    """Build the whole-image autoencoder of section 4.1: 74,881 parameters, input and output "NYXC"
    in [0, 1].

    The text gives the last Conv2DTranspose 32 filters, the other one 64; batch normalisation stands
    between the two pairs of the encoder and between the two transposed convolutions.
    """
    return keras.Sequential(
        [
            layers.Input((image_size, image_size, 1)),
            layers.Conv2D(32, (3, 3), padding="same", activation="relu"),
            layers.MaxPooling2D((2, 2)),
            layers.BatchNormalization(),
            layers.Conv2D(64, (3, 3), padding="same", activation="relu"),
            layers.MaxPooling2D((2, 2)),
            layers.Conv2DTranspose(64, (3, 3), strides=2, padding="same", activation="elu"),
            layers.BatchNormalization(),
            layers.Conv2DTranspose(32, (3, 3), strides=2, padding="same", activation="elu"),
            layers.Conv2D(1, (3, 3), padding="same", activation="sigmoid"),
        ],
        name="whole_image_autoencoder",
    )


def split_image_autoencoder(patch_size: int = 128) -> keras.Model:
    """Build the split-image autoencoder of section 4.2: 185,857 parameters, input and output "NYXC"
    in [0, 1].

    The decoder repeats the encoder "in reverse", so its activations are relu, relu, sigmoid. The
    text does not name the activation of the last layer; it is "the same as the whole image
    Autoencoder", sigmoid. Nor does it name the padding; only "same" brings a patch back to its
    size.
    """
    return keras.Sequential(
        [
            layers.Input((patch_size, patch_size, 1)),
            layers.Conv2D(64, (3, 3), padding="same", activation="sigmoid"),
            layers.MaxPooling2D((2, 2)),
            layers.Conv2D(64, (3, 3), padding="same", activation="relu"),
            layers.MaxPooling2D((2, 2)),
            layers.Conv2D(64, (3, 3), padding="same", activation="relu"),
            layers.MaxPooling2D((2, 2)),
            layers.Conv2D(64, (3, 3), padding="same", activation="relu"),
            layers.UpSampling2D((2, 2)),
            layers.Conv2D(64, (3, 3), padding="same", activation="relu"),
            layers.UpSampling2D((2, 2)),
            layers.Conv2D(64, (3, 3), padding="same", activation="sigmoid"),
            layers.UpSampling2D((2, 2)),
            layers.Conv2D(1, (3, 3), padding="same", activation="sigmoid"),
        ],
        name="split_image_autoencoder",
    )
