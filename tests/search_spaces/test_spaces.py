"""The same function drives Optuna, through the bridge, and KerasTuner; its ends are reached and its points come back."""

from __future__ import annotations

import json
from typing import Any

import optuna
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from keras_tuner import HyperParameters

from search_spaces import SPACES
from search_spaces.baselines import baselines
from search_spaces.bridge import OptunaHyperParameters
from study.models.autoencoder import build

SIZES: dict[str, Any] = {"whole_sizes": [128, 64], "split_size": 768, "patch_sizes": [128, 64, 256]}
SMALL: dict[str, Any] = {"whole_sizes": [32], "split_size": 64, "patch_sizes": [32]}
optuna.logging.set_verbosity(optuna.logging.WARNING)


def through_optuna(space: Any, fixed: dict[str, Any], sizes: dict[str, Any]) -> dict[str, Any]:
    return space(OptunaHyperParameters(optuna.trial.FixedTrial(fixed)), **sizes)


@pytest.fixture(params=sorted(SPACES))
def space(request: pytest.FixtureRequest) -> Any:
    return SPACES[request.param]


def test_both_baselines_are_points_of_every_space(space: Any) -> None:
    for point in baselines(**SIZES).values():
        assert through_optuna(space, point, SIZES) == point
        hp = HyperParameters()
        hp.values.update(point)
        assert space(hp, **SIZES) == point


def test_the_baselines_are_the_papers() -> None:
    whole, split = baselines(**SIZES).values()
    assert whole == {"family": "whole", "depth": 2, "filters": 32, "loss": "l1", "image_size": 128}
    assert split == {"family": "split", "depth": 3, "filters": 64, "loss": "l1", "image_size": 768, "patch_size": 128}


def test_points_come_back_through_json_and_both_ends_are_reached(space: Any) -> None:
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    points = []
    for _ in range(300):
        trial = study.ask()
        point = space(OptunaHyperParameters(trial), **SIZES)
        assert through_optuna(space, json.loads(json.dumps(point)), SIZES) == point
        assert set(trial.params) <= set(point)
        points.append(point)
    assert {point["depth"] for point in points} == {1, 2, 3, 4, 5}
    assert {point["image_size"] for point in points if point["family"] == "whole"} == {128, 64}
    assert {point.get("patch_size") for point in points} == {None, 128, 64, 256}
    assert all(("patch_size" in point) == (point["family"] == "split") for point in points)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_every_point_can_be_built(seed: int) -> None:
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=seed))
    for space in SPACES.values():
        point = space(OptunaHyperParameters(study.ask()), **SMALL) | {"filters": 2}
        size = point.get("patch_size", point["image_size"])
        assert build(point).output_shape == (None, size, size, 1)


def test_depth_ends_where_a_size_can_not_be_halved_any_more(space: Any) -> None:
    hp = HyperParameters()
    space(hp, whole_sizes=[72], split_size=192, patch_sizes=[64])
    assert next(kind for kind in hp.space if kind.name == "depth").max_value == 3


def test_the_bridge_on_every_kind_of_hyperparameter() -> None:
    def declare(hp: HyperParameters) -> dict[str, Any]:
        hp.Int("even", 2, 6, step=2)
        hp.Int("log", 1, 64, sampling="log")
        hp.Float("rate", 1e-4, 1e-2, sampling="log")
        hp.Float("share", 0.0, 0.5, step=0.25)
        hp.Boolean("flag")
        hp.Fixed("always", 7)
        with hp.conditional_scope("flag", [True]):
            hp.Choice("only_if", ["a", "b"])
        return dict(hp.values)

    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    points = [declare(OptunaHyperParameters(study.ask())) for _ in range(200)]
    assert {point["even"] for point in points} == {2, 4, 6}
    assert {point["share"] for point in points} == {0.0, 0.25, 0.5}
    assert {point["flag"] for point in points} == {False, True}
    assert all(1e-4 <= point["rate"] <= 1e-2 and 1 <= point["log"] <= 64 and point["always"] == 7 for point in points)
    assert all(("only_if" in point) == point["flag"] for point in points)
