"""A search space as a table: its hyperparameters, how many configurations it holds, and where the
baselines stand.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator
from typing import Any

import pandas as pd
from keras_tuner import HyperParameters

from search_spaces.baselines import baselines
from search_spaces.sizes import Sizes
from study.models.autoencoder import build, patch_size_of
from study.record.events import Hyperparameters

Space = Callable[[HyperParameters, Sizes], Hyperparameters]
OF_TRAINING = (
    "loss",
    "alpha",
    "relative_loss",
    "weigh_near_focus",
    "learning_rate",
    "schedule",
    "weight_decay",
    "batch_size",
    "augment",
    "augment_light",
    "ema",
    "dropout",
    "activation",
)


def space_table(space: Space, sizes: Sizes) -> pd.DataFrame:
    """Return a row for every hyperparameter: name, when it is active, values, and the baselines'
    value.
    """
    hp = HyperParameters()
    space(hp, sizes)
    configurations = baselines(sizes)
    rows = []
    for one in hp.space:
        condition = " and ".join(
            f"{part.name} is {' or '.join(map(str, part.values))}" for part in one.conditions
        )
        row = {
            "hyperparameter": one.name,
            "where": condition or "always",
            "values": _values_text(one),
        }
        for label, hyperparameters in configurations.items():
            row[label] = (
                str(hyperparameters[one.name])
                if one.name in hyperparameters and _active(one, hyperparameters)
                else ""
            )
        rows.append(row)
    return pd.DataFrame(rows)


def count_configurations(space: Space, sizes: Sizes) -> tuple[int, list[str]]:
    """Return the number of configurations and the names of continuous hyperparameters, which are
    not counted.
    """
    hp = HyperParameters()
    space(hp, sizes)
    continuous = sorted({one.name for one in hp.space if _values(one) is None})
    parents = {part.name for one in hp.space for part in one.conditions}
    total = 0
    for values in itertools.product(
        *([(name, value) for value in _values_of(hp, name)] for name in sorted(parents))
    ):
        chosen, reachable, product = dict(values), set(), 1
        for one in hp.space:
            if _active(one, chosen):
                reachable.add(one.name)
                product *= 1 if one.name in parents else len(_values(one) or [0])
        # a parent that is not active here is counted once, at its first value
        if all(
            name in reachable or value == _values_of(hp, name)[0] for name, value in chosen.items()
        ):
            total += product
    return total, continuous


def parameter_range(space: Space, sizes: Sizes) -> tuple[int, int]:
    """Return the smallest and the largest number of weights, over the ends of everything that
    shapes a network.
    """
    counts = [
        build(hyperparameters, size=_smallest_size(hyperparameters)).count_params()
        for hyperparameters in _corners(space, sizes)
    ]
    return min(counts), max(counts)


def describe_space(name: str, space: Space, sizes: Sizes) -> str:
    """Return all of it as lines for a terminal."""
    total, continuous = count_configurations(space, sizes)
    low, high = parameter_range(space, sizes)
    without = f", and {', '.join(continuous)} continuous" if continuous else ""
    lines = [space_table(space, sizes).to_string(index=False), ""]
    lines.append(f"{name}: {total:,} configurations{without}; {low:,} to {high:,} parameters")
    for label, hyperparameters in baselines(sizes).items():
        lines.append(
            f"{label}: {build(hyperparameters).count_params():,} parameters, trained at"
            f" {patch_size_of(hyperparameters)} px"
        )
    return "\n".join(lines)


def _corners(space: Space, sizes: Sizes) -> Iterator[Hyperparameters]:
    """Yield points with every number at its lowest and with every number at its highest, for every
    choice that names a kind.

    More depth, filters, growth, convolutions, kernel or context never take a weight away.
    """
    hp = HyperParameters()
    space(hp, sizes)
    for family in _values_of(hp, "family"):
        active = [
            one
            for one in hp.space
            if one.name != "family" and _active(one, {"family": family, "loss": "l1"})
        ]
        values = {one.name: _values(one) or [one.default] for one in active}
        numbers = {
            name
            for name, held in values.items()
            if name == "global_context" or all(type(value) in (int, float) for value in held)
        }
        kinds = {
            name: held if name not in (*OF_TRAINING, "residual") else held[:1]
            for name, held in values.items()
            if name not in numbers
        }
        for end, corner in itertools.product(
            (min, max),
            itertools.product(*([(name, one) for one in held] for name, held in kinds.items())),
        ):
            yield {
                "family": family,
                **{name: end(values[name]) for name in numbers},
                **dict(corner),
            }


def _smallest_size(hyperparameters: Hyperparameters) -> int:
    return int(2 ** int(hyperparameters["depth"]))


def _active(one: Any, chosen: Hyperparameters) -> bool:
    return all(chosen.get(part.name) in part.values for part in one.conditions)


def _values_of(hp: HyperParameters, name: str) -> list[Any]:
    return next(_values(one) or [] for one in hp.space if one.name == name)


def _values(one: Any) -> list[Any] | None:
    """Return every value of a hyperparameter; None if it is continuous."""
    kind = type(one).__name__
    if kind == "Choice":
        return list(one.values)
    if kind == "Boolean":
        return [False, True]
    if kind == "Fixed":
        return [one.value]
    if one.sampling == "log" or not one.step:
        return None
    count = math.floor((one.max_value - one.min_value) / one.step + 1e-9) + 1
    return [type(one.min_value)(one.min_value + index * one.step) for index in range(count)]


def _values_text(one: Any) -> str:
    values = _values(one)
    if values is None:
        return f"{one.min_value:g} to {one.max_value:g}{' (log)' if one.sampling == 'log' else ''}"
    if len(values) > 4 and not isinstance(values[0], str):
        return f"{values[0]:g} to {values[-1]:g} by {one.step:g}"
    return ", ".join(map(str, values))
