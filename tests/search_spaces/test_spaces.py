"""The same function drives Optuna, through the bridge, and KerasTuner; its ends are reached and its
configurations come back.
"""

from __future__ import annotations

import json
import re
import warnings
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

import keras
import keras_tuner
import numpy as np
import optuna
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from keras_tuner import HyperParameters

from search_spaces import SPACES
from search_spaces.baselines import baselines
from search_spaces.bridge import OptunaHyperParameters, complete, fits
from search_spaces.comparators import initial_configurations
from search_spaces.sizes import Sizes
from study.models.autoencoder import build, patch_size_of
from study.models.losses import loss_of
from study.models.schedules import schedule_of
from study.planning.spaces import count_configurations, describe_space, parameter_range

SIZES = Sizes(whole=[128, 64], split=768, patches=[128, 64, 256], crops=[64, 32])
SMALL = Sizes(whole=[32], split=64, patches=[32], crops=[32])
optuna.logging.set_verbosity(optuna.logging.WARNING)


def through_optuna(space: Any, fixed: dict[str, Any], sizes: Sizes) -> dict[str, Any]:
    return space(OptunaHyperParameters(optuna.trial.FixedTrial(fixed)), sizes)


def drawn_by_optuna(space: Any, sizes: Sizes, count: int) -> Iterator[dict[str, Any]]:
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    for _ in range(count):
        yield space(OptunaHyperParameters(study.ask()), sizes)


def drawn_by_keras_tuner(space: Any, sizes: Sizes, count: int) -> Iterator[dict[str, Any]]:
    """Configurations of KerasTuner's own random search, as its oracle proposes them."""
    oracle = keras_tuner.oracles.RandomSearchOracle(
        objective=keras_tuner.Objective("loss", "min"), max_trials=count, seed=0
    )
    hp = HyperParameters()
    space(hp, sizes)
    oracle.update_space(hp)
    for number in range(count):
        drawn = oracle.populate_space(str(number))
        if drawn["values"] is None:
            return
        chosen = HyperParameters()
        chosen.values = dict(drawn["values"])
        proposed = space(chosen, sizes)
        active = {one.name for one in chosen.space if chosen.is_active(one)}
        yield {name: value for name, value in proposed.items() if name in active}


@pytest.fixture(params=sorted(SPACES))
def space(request: pytest.FixtureRequest) -> Any:
    return SPACES[request.param]


def test_every_space_holds_both_baselines(space: Any) -> None:
    for hyperparameters in baselines(SIZES).values():
        assert through_optuna(space, hyperparameters, SIZES) == hyperparameters
        hp = HyperParameters()
        hp.values.update(hyperparameters)
        assert space(hp, SIZES) == hyperparameters


def test_the_baselines_are_the_papers() -> None:
    whole, split = baselines(SIZES).values()
    assert whole == {
        "family": "whole",
        "depth": 2,
        "filters": 32,
        "growth": 2,
        "loss": "l1",
        "image_size": 128,
    }
    assert split == {
        "family": "split",
        "depth": 3,
        "filters": 64,
        "growth": 1,
        "loss": "l1",
        "image_size": 768,
        "patch_size": 128,
    }


def test_initial_configurations_and_those_of_an_older_space_are_in_this_one() -> None:
    def space(hp: HyperParameters) -> dict[str, Any]:
        return SPACES["beyond"](hp, SIZES)

    named = initial_configurations(SIZES)
    assert all(fits(space, hyperparameters) for hyperparameters in named.values())
    off = {
        "relative_loss": False,
        "augment_light": False,
        "global_context": False,
        "weigh_near_focus": False,
    }
    older = {name: value for name, value in named["robust"].items() if name not in off}
    assert not fits(space, older)
    assert complete(space, older) == named["robust"] | off
    assert complete(space, named["robust"]) == named["robust"]
    assert (
        complete(space, {"family": "unet", "loss": "msssim_l1"})
        .keys()
        .isdisjoint({"alpha", "learning_rate", "unet_filters"})
    )  # no switches
    for hyperparameters in baselines(SIZES).values():
        assert complete(space, hyperparameters) == hyperparameters
    assert not fits(space, complete(space, named["unet"] | {"unet_filters": 18}))
    assert not fits(space, complete(space, named["unet"] | {"shape": "round"}))


@pytest.mark.parametrize("drawn", [drawn_by_optuna, drawn_by_keras_tuner])
def test_configurations_come_back_through_json_and_both_ends_are_reached(
    space: Any, drawn: Any
) -> None:
    configurations = list(drawn(space, SIZES, 600))
    for hyperparameters in configurations[:100]:
        assert (
            through_optuna(space, json.loads(json.dumps(hyperparameters)), SIZES) == hyperparameters
        )
    ends = {
        "whole": {"depth": {1, 5}, "image_size": {64, 128}, "filters": {16, 64}, "growth": {1, 2}},
        "split": {
            "depth": {1, 5},
            "image_size": {768},
            "patch_size": {64, 256},
            "filters": {16, 64},
        },
        "unet": {
            "depth": {1, 4},
            "crop_size": {32, 64},
            "convolutions": {1, 2},
            "residual": {True, False},
            "alpha": {0.1, 0.9},
        },
    }
    for family in {hyperparameters["family"] for hyperparameters in configurations}:
        for name, wanted in ends[family].items():
            reached = {
                round(hyperparameters[name], 6)
                for hyperparameters in configurations
                if hyperparameters["family"] == family and name in hyperparameters
            }
            assert wanted <= reached, (family, name, reached)
    assert {hyperparameters["family"] for hyperparameters in configurations} == (
        {"whole", "split"} if space is SPACES["paper"] else set(ends)
    )
    assert all(
        ("patch_size" in hyperparameters) == (hyperparameters["family"] == "split")
        for hyperparameters in configurations
    )
    assert all(
        ("alpha" in hyperparameters)
        == (hyperparameters["family"] == "unet" and hyperparameters["loss"] == "msssim_l1")
        for hyperparameters in configurations
    )
    rates = [
        hyperparameters["learning_rate"]
        for hyperparameters in configurations
        if "learning_rate" in hyperparameters
    ]
    assert all(2e-4 <= rate <= 5e-3 for rate in rates)


@lru_cache(maxsize=2)
def counted_range(name: str) -> tuple[int, int]:
    return parameter_range(SPACES[name], SMALL)


@settings(max_examples=20, deadline=None, suppress_health_check=list(HealthCheck))
@given(name=st.sampled_from(sorted(SPACES)), seed=st.integers(0, 2**31 - 1))
def test_every_configuration_can_be_built_and_has_a_number_of_parameters_in_the_spaces_range(
    name: str, seed: int
) -> None:
    keras.backend.clear_session()
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=seed))
    hyperparameters = SPACES[name](OptunaHyperParameters(study.ask()), SMALL)
    size, model = patch_size_of(hyperparameters), build(hyperparameters)
    assert model.output_shape == (None, size, size, 1)
    low, high = counted_range(name)
    assert low <= model.count_params() <= high


def covering(space: Any) -> list[dict[str, Any]]:
    """A few drawn configurations in which every value of every choice comes, in every family."""
    left, chosen = {}, []
    for hyperparameters in drawn_by_optuna(space, SMALL, 300):
        values = {
            (hyperparameters["family"], name, value)
            for name, value in hyperparameters.items()
            if name not in ("learning_rate", "alpha")
        }
        left[tuple(sorted(hyperparameters.items()))] = values
    missing = set().union(*left.values())
    while missing:
        best = max(left, key=lambda one: len(left[one] & missing))
        missing -= left[best]
        chosen.append(dict(best))
    return chosen


def test_configurations_that_hold_every_choice_can_be_trained() -> None:
    rng = np.random.default_rng(0)
    configurations = covering(SPACES["beyond"])  # the families of the other space are in it
    assert {one["family"] for one in configurations} == {"whole", "split", "unet"}
    assert len(configurations) <= 16
    for configuration in configurations:
        keras.backend.clear_session()
        hyperparameters = configuration | {"filters": 2, "unet_filters": 2}
        size, model = patch_size_of(hyperparameters), build(hyperparameters)
        model.compile(
            keras.optimizers.SGD(schedule_of(hyperparameters, steps_per_pass=3, steps=6)),
            loss=loss_of(hyperparameters),
            run_eagerly=True,
        )
        pair = rng.random((2, 2, size, size, 1), dtype=np.float32)
        assert np.isfinite(model.train_on_batch(*pair)), hyperparameters
        assert np.isfinite(model.predict_on_batch(pair[0])).all(), hyperparameters


def test_both_ends_of_every_range_are_reached_through_optuna_and_through_keras_tuner(
    space: Any,
) -> None:
    hp = HyperParameters()
    space(hp, SIZES)
    configurations = list(drawn_by_optuna(space, SIZES, 300))
    for one in hp.space:
        kind = type(one).__name__
        if kind == "Fixed":
            continue
        ends = (
            list(one.values)
            if kind == "Choice"
            else [False, True]
            if kind == "Boolean"
            else [one.min_value, one.max_value]
        )
        hyperparameters = next(  # one in which it is asked for, under these conditions
            hyperparameters
            for hyperparameters in configurations
            if one.name in hyperparameters
            and all(hyperparameters.get(part.name) in part.values for part in one.conditions)
        )
        for end in ends:
            changed = hyperparameters | {one.name: end}
            if one.name in (
                "family",
                "loss",
            ):  # others hang on it: any configuration with this value
                changed = next(
                    other
                    for other in configurations
                    if other[one.name] == end
                    and (one.name == "family" or other["family"] == hyperparameters["family"])
                )
            with warnings.catch_warnings():
                warnings.simplefilter("error")  # Optuna's of a value out of range
                assert through_optuna(space, changed, SIZES) == changed
            chosen = HyperParameters()
            chosen.values = dict(changed)
            assert space(chosen, SIZES)[one.name] == end


def test_depth_ends_where_a_size_cannot_be_halved_any_more(space: Any) -> None:
    hp = HyperParameters()
    space(hp, Sizes(whole=[72], split=192, patches=[64], crops=[24]))
    depths = [kind for kind in hp.space if kind.name == "depth"]
    assert {kind.conditions[0].values[0]: kind.max_value for kind in depths}.items() >= {
        "whole": 3,
        "split": 5,
    }.items()
    assert all(kind.max_value == 3 for kind in depths if kind.conditions[0].values[0] == "unet")


@pytest.mark.filterwarnings(
    "ignore:currentThread:DeprecationWarning",
    "ignore:setName:DeprecationWarning",
    "ignore:getName:DeprecationWarning",
)
def test_keras_tuners_own_search_trains_configurations_of_a_space(tmp_path: Path) -> None:
    def hypermodel(hp: HyperParameters) -> keras.Model:
        hyperparameters = SPACES["paper"](hp, SMALL)
        model = build(hyperparameters | {"filters": 2})
        model.compile("sgd", loss=loss_of(hyperparameters))
        return model

    tuner = keras_tuner.RandomSearch(
        hypermodel, objective="loss", max_trials=2, seed=0, directory=tmp_path, project_name="kt"
    )
    pair = np.random.default_rng(0).random((2, 4, 32, 32, 1), dtype=np.float32)
    tuner.search(*pair, epochs=1, verbose=0)
    assert len(tuner.get_best_hyperparameters(2)) == 2


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
    configurations = [declare(OptunaHyperParameters(study.ask())) for _ in range(200)]
    assert {hyperparameters["even"] for hyperparameters in configurations} == {2, 4, 6}
    assert {hyperparameters["share"] for hyperparameters in configurations} == {0.0, 0.25, 0.5}
    assert {hyperparameters["flag"] for hyperparameters in configurations} == {False, True}
    assert all(
        1e-4 <= hyperparameters["rate"] <= 1e-2
        and 1 <= hyperparameters["log"] <= 64
        and hyperparameters["always"] == 7
        for hyperparameters in configurations
    )
    assert all(
        ("only_if" in hyperparameters) == hyperparameters["flag"]
        for hyperparameters in configurations
    )


@pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")
def test_configurations_are_counted_as_optuna_finds_them(space: Any) -> None:
    small = Sizes(whole=[32], split=32, patches=[32], crops=[32])

    def without_training(hp: HyperParameters, sizes: Sizes) -> dict[str, Any]:
        hp.Choice("family", ["whole", "split"])
        with hp.conditional_scope("family", ["whole"]):
            hp.Int("depth", 1, 3)
            hp.Choice("loss", ["l1", "msssim_l1"])
            with hp.conditional_scope("loss", ["msssim_l1"]):
                hp.Float("alpha", 0.2, 0.8, step=0.2)
        return dict(hp.values)

    assert count_configurations(without_training, small) == (1 + 3 * (1 + 4), [])
    study = optuna.create_study(sampler=optuna.samplers.BruteForceSampler(seed=0))
    study.optimize(
        lambda trial: len(without_training(OptunaHyperParameters(trial), small)), n_trials=100
    )
    assert len({str(trial.params) for trial in study.trials}) == 16
    total, continuous = count_configurations(space, small)
    assert continuous == ([] if space is SPACES["paper"] else ["learning_rate"])
    paper, networks, training = (
        2 * 5 * 3 * 2 * 3,
        4 * 3 * 2 * 2 * 2 * 3 * 3 * 3 * 2 * 2 * 3 * 3,
        (2 + 9) * 2 * 2 * 2 * 3 * 3 * 2 * 2 * 2,
    )  # 9 values of alpha
    assert total == (paper if space is SPACES["paper"] else paper + networks * training)


def test_a_space_is_shown_with_the_baselines_in_it() -> None:
    shown = describe_space("paper", SPACES["paper"], SIZES)
    assert "74,881 parameters, trained at 128 px" in shown
    assert "185,857 parameters, trained at 128 px" in shown
    assert re.search(r"depth +family is whole +1 to 5 by 1 +2 ", shown)
