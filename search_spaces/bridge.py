"""`keras_tuner.HyperParameters` whose values Optuna proposes: a space is written once and driven by
both.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from typing import Any

import optuna
from keras_tuner import HyperParameters
from keras_tuner.engine import hyperparameters as kinds


class OptunaHyperParameters(HyperParameters):
    """Ask an Optuna trial for every hyperparameter that is active, when it is declared.

    Parameters
    ----------
    trial : optuna.Trial
        The trial to ask. Bounds are inclusive on both sides, as KerasTuner's are.
    """

    def __init__(self, trial: optuna.trial.BaseTrial) -> None:
        super().__init__()
        self._trial = trial

    def _register(self, hyperparameter: Any, overwrite: bool = False) -> Any:
        value = super()._register(hyperparameter, overwrite)
        if value is None or isinstance(hyperparameter, kinds.Fixed):
            return value
        self.values[hyperparameter.name] = suggest(self._trial, hyperparameter)
        return self.values[hyperparameter.name]


def complete(
    space: Callable[[Any], dict[str, Any]], hyperparameters: Mapping[str, Any]
) -> dict[str, Any]:
    """Return a configuration with the switches that its space did not have when it was recorded:
    they were off, as by default.
    """
    hp = HyperParameters()
    hp.values = dict(hyperparameters)
    added = {
        name: value
        for name, value in space(hp).items()
        if name not in hyperparameters and value is False
    }
    return {**hyperparameters, **added}


def fits(space: Callable[[Any], dict[str, Any]], hyperparameters: Mapping[str, Any]) -> bool:
    """Return whether a space, as it is offered, holds a configuration with these hyperparameters
    and no others.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # Optuna's of a value out of range
            return space(
                OptunaHyperParameters(optuna.trial.FixedTrial(dict(hyperparameters)))
            ) == dict(hyperparameters)
    except (ValueError, UserWarning):
        return False


def suggest(trial: optuna.trial.BaseTrial, hyperparameter: Any) -> Any:
    """Ask `trial` for one value of a KerasTuner hyperparameter."""
    name, kind = hyperparameter.name, hyperparameter
    if isinstance(kind, kinds.Choice):
        return trial.suggest_categorical(name, list(kind.values))
    if isinstance(kind, kinds.Boolean):
        return trial.suggest_categorical(name, [False, True])
    log = kind.sampling in ("log", "reverse_log")
    if isinstance(kind, kinds.Int):
        return trial.suggest_int(
            name, kind.min_value, kind.max_value, step=1 if log else kind.step or 1, log=log
        )
    if isinstance(kind, kinds.Float):
        return trial.suggest_float(
            name, kind.min_value, kind.max_value, step=None if log else kind.step, log=log
        )
    raise TypeError(
        f"a hyperparameter must be Choice, Boolean, Int, Float or Fixed; {name} is"
        f" {type(kind).__name__}"
    )
