"""Restoring images with a network's weights, those of a trial in progress or those that one left in
its folder.
"""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import Any

import keras
import numpy as np

from study.data.patches import split_patches, stitch_patches
from study.models.autoencoder import Hyperparameters, build, patch_size_of
from study.trial.checkpoints import DESCRIPTION, WEIGHTS
from study.trial.device import exact_products
from study.trial.evaluation import Restore
from study.trial.task import OUTPUT_ACTIVATIONS

PREDICTED_PIXELS = 16 * 128 * 128  # in one call: bounds the memory of the network's widest layer


def make_restore(
    model: keras.Model,
    hyperparameters: Hyperparameters,
    *,
    inference: str,
    precision: str = "float32",
    output_activation: str = "sigmoid",
) -> Restore:
    """Return the function that restores images of the network's image size with the weights that
    the model then has.

    Parameters
    ----------
    model : keras.Model
        Built from `hyperparameters`.
    hyperparameters : mapping
        A configuration of a search space.
    inference : str
        ``whole`` (the whole image at once) or ``stitched`` (patch by patch).
    precision : str
        What it computes in, whatever the model is trained in; float32 is float32 on every GPU.
    output_activation : str
        What the model ends in.

    Returns
    -------
    callable
        Its network takes the model's weights over at the first call, and again whenever the
        optimiser has made steps.
    """
    patch_size = patch_size_of(hyperparameters)
    size = patch_size if inference == "stitched" else int(hyperparameters["image_size"])
    own = size == model.input_shape[1] and model.dtype_policy.name == precision
    network = model
    if not own:
        network = build(
            hyperparameters, size=size, precision=precision, output_activation=output_activation
        )
    at_once = max(1, PREDICTED_PIXELS // size**2)
    copied: list[int] = []

    def predict(images: np.ndarray) -> np.ndarray:
        optimizer = getattr(model, "optimizer", None)  # a network that was only loaded has none
        steps = 0 if optimizer is None else int(optimizer.iterations)
        if network is not model and copied != [steps]:
            network.set_weights(model.get_weights())
            copied[:] = [steps]
        with exact_products() if precision == "float32" else contextlib.nullcontext():
            parts = [
                network.predict_on_batch(images[start : start + at_once])
                for start in range(0, len(images), at_once)
            ]
        return np.concatenate([np.asarray(part, np.float32) for part in parts])

    return restore_patchwise(predict, patch_size) if inference == "stitched" else _restore(predict)


def restore_patchwise(predict: Restore, patch_size: int) -> Restore:
    """Return a function that restores images, shape (N, S, S), patch by patch and stitches them.

    Parameters
    ----------
    predict : callable
        The network, on "NYXC" arrays of the patch's size.
    patch_size : int
        Side of the patches; it divides S.
    """

    def restore(images: np.ndarray) -> np.ndarray:
        patches = split_patches(images, patch_size)
        return stitch_patches(predict(patches[..., None])[..., 0], images.shape[1])

    return restore


def load_model(folder: Path, *, size: int | None = None) -> keras.Model:
    """Build the network that a trial left in its folder, for images of `size` or its own, from
    plain arrays and JSON alone.
    """
    described = read_description(folder)
    model = build(
        described["hyperparameters"],
        size=size,
        output_activation=OUTPUT_ACTIVATIONS[described["normalisation"]],
    )
    with np.load(folder / WEIGHTS, allow_pickle=False) as arrays:
        model.set_weights([arrays[name] for name in arrays.files])
    return model


def read_description(folder: Path) -> dict[str, Any]:
    """Read what a trial left beside its weights: ``hyperparameters``, ``resize``,
    ``normalisation``, and the fingerprint of its ``store``.
    """
    described: dict[str, Any] = json.loads((folder / DESCRIPTION).read_text(encoding="utf-8"))
    return {"normalisation": "own", **described}  # older ones do not say it


def _restore(predict: Restore) -> Restore:
    return lambda images: predict(images[..., None])[..., 0]
