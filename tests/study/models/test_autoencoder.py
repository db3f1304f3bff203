from __future__ import annotations

import itertools
from typing import Any

import keras
import numpy as np
import pytest

from search_spaces.baselines import SPLIT_IMAGE, WHOLE_IMAGE, baselines
from search_spaces.sizes import Sizes
from study.errors import StudyError
from study.models.autoencoder import build
from study.models.paper_networks import split_image_autoencoder, whole_image_autoencoder
from study.models.unet import DepthToSpace

PAPER = baselines(Sizes(whole=[128], split=768, patches=[128]))
ORACLES = {WHOLE_IMAGE: whole_image_autoencoder, SPLIT_IMAGE: split_image_autoencoder}


def description(layer: Any) -> tuple[Any, ...]:
    config = layer.get_config()
    kept = (
        "filters",
        "kernel_size",
        "strides",
        "padding",
        "activation",
        "pool_size",
        "size",
        "interpolation",
        "momentum",
        "epsilon",
    )
    return (
        type(layer).__name__,
        tuple(layer.output.shape),
        layer.count_params(),
        {name: config[name] for name in kept if name in config},
    )


@pytest.mark.parametrize("name", list(ORACLES))
def test_each_baseline_is_the_papers_network_layer_by_layer(name: str) -> None:
    built, oracle = build(PAPER[name]), ORACLES[name]()
    layers = [layer for layer in built.layers if not isinstance(layer, keras.layers.InputLayer)]
    assert built.input_shape == oracle.input_shape == (None, 128, 128, 1)
    assert [description(layer) for layer in layers] == [
        description(layer) for layer in oracle.layers
    ]


@pytest.mark.parametrize(("name", "parameters"), [(WHOLE_IMAGE, 74_881), (SPLIT_IMAGE, 185_857)])
def test_parameter_counts_worked_out_by_hand(name: str, parameters: int) -> None:
    assert ORACLES[name]().count_params() == build(PAPER[name]).count_params() == parameters


@pytest.mark.parametrize("name", list(ORACLES))
def test_same_weights_same_restoration(name: str) -> None:
    built, oracle = build(PAPER[name]), ORACLES[name]()
    built.set_weights(oracle.get_weights())
    image = np.random.default_rng(0).random((1, 128, 128, 1), dtype=np.float32)
    np.testing.assert_array_equal(built.predict(image, verbose=0), oracle.predict(image, verbose=0))


@pytest.mark.parametrize("family", ["whole", "split"])
@pytest.mark.parametrize("depth", [1, 2, 3, 4, 5])
def test_every_depth_comes_back_to_its_size_in_the_unit_interval(family: str, depth: int) -> None:
    model = build({"family": family, "depth": depth, "filters": 2, "image_size": 64})
    image = np.random.default_rng(0).random((2, 64, 64, 1), dtype=np.float32)
    restored = model.predict_on_batch(image)
    assert restored.shape == image.shape
    assert restored.min() >= 0
    assert restored.max() <= 1
    assert sum(isinstance(layer, keras.layers.MaxPooling2D) for layer in model.layers) == depth


def test_weights_fit_any_size() -> None:
    hyperparameters = {"family": "whole", "depth": 2, "filters": 4, "image_size": 64}
    small, large = build(hyperparameters), build(hyperparameters, size=96)
    large.set_weights(small.get_weights())
    assert large.output_shape == (None, 96, 96, 1)


def test_a_size_that_cannot_be_halved_often_enough() -> None:
    with pytest.raises(StudyError, match="multiple of 32; got 48"):
        build({"family": "whole", "depth": 5, "filters": 2, "image_size": 48})


UNET = {
    "family": "unet",
    "depth": 2,
    "unet_filters": 4,
    "growth": 2,
    "convolutions": 1,
    "kernel": 3,
    "activation": "relu",
    "normalisation": "none",
    "skip": "none",
    "residual": True,
    "upsampling": "resize",
    "dropout": 0.0,
    "image_size": 64,
    "crop_size": 32,
}


def test_a_residual_network_begins_as_doing_nothing_at_any_size() -> None:
    image = np.random.default_rng(0).random((1, 64, 64, 1), dtype=np.float32)
    choices = itertools.product(
        ("transpose", "resize", "depth_to_space"), ("none", "add", "concat")
    )
    for number, (upsampling, skip) in enumerate(choices):
        chosen = {"upsampling": upsampling, "skip": skip, "global_context": number % 2 == 1}
        model = build(UNET | chosen, size=64)
        np.testing.assert_array_equal(model.predict_on_batch(image), image)
    assert build(UNET).input_shape == (None, 32, 32, 1)  # trained on crops


def test_global_context_begins_as_leaving_every_channel_as_it_is() -> None:
    model = build(UNET | {"residual": False, "global_context": True}, size=64)
    scaled = [layer for layer in model.layers if isinstance(layer, keras.layers.Multiply)]
    assert len(scaled) == UNET["depth"]
    image = np.random.default_rng(0).random((2, 64, 64, 1), dtype=np.float32)
    for layer in scaled:
        before, after = keras.Model(model.input, [layer.input[0], layer.output]).predict_on_batch(
            image
        )
        np.testing.assert_array_equal(before, after)
        assert before.std() > 0


def test_depth_to_space_by_hand() -> None:
    channels = np.arange(8, dtype=np.float32).reshape(1, 1, 2, 4)
    np.testing.assert_array_equal(DepthToSpace()(channels)[0, ..., 0], [[0, 1, 4, 5], [2, 3, 6, 7]])


def test_parameters_of_a_unet_by_hand() -> None:
    def conv(inputs: int, outputs: int) -> int:
        return 9 * inputs * outputs + outputs

    # encoder 1-4, 4-8; bottom 8-16; each decoder step resizes, convolves to its width, joins the
    # skip, convolves; output
    plain = (
        conv(1, 4)
        + conv(4, 8)
        + conv(8, 16)
        + conv(16, 8)
        + conv(8, 8)
        + conv(8, 4)
        + conv(4, 4)
        + conv(4, 1)
    )
    assert build(UNET).count_params() == plain
    assert build(UNET | {"skip": "concat"}).count_params() == plain + 9 * 8 * 8 + 9 * 4 * 4
    # one mean of each channel of the encoder, normalised (a scale and an offset each)
    means = 4 + 8 + 16
    context = 2 * means + (means * 32 + 32) + (32 * 8 + 8) + (32 * 4 + 4)
    assert build(UNET | {"global_context": True}).count_params() == plain + context


@pytest.mark.parametrize("context", [False, True])
def test_only_global_context_looks_beyond_the_receptive_field(context: bool) -> None:
    model, rng = (
        build(UNET | {"depth": 1, "global_context": context}, size=64),
        np.random.default_rng(0),
    )
    model.set_weights([rng.normal(0, 0.3, weight.shape) for weight in model.get_weights()])
    image = rng.random((1, 64, 64, 1), dtype=np.float32)
    elsewhere = image.copy()
    elsewhere[:, 40:, 40:] = 0
    near, far = (
        np.abs(model.predict_on_batch(elsewhere) - model.predict_on_batch(image))[0, at, at, 0]
        for at in (50, 4)
    )
    assert near > 1e-3
    assert (far > 1e-4) == context
    assert context or far == 0
