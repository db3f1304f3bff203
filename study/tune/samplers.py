"""The samplers that a search can be driven by: Optuna's, every point of a grid, and evolution."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
import optuna
from optuna.distributions import BaseDistribution
from optuna.trial import FrozenTrial, TrialState

STARTUP_TRIALS = 4  # drawn at random before a sampler begins to model
PARENTS = 0.15  # the best share of the trials, of which one is chosen
LEAST_PARENTS = 3
MUTATIONS = 2.0  # hyperparameters of a parent that are drawn anew, in the mean
JUMPS = 0.25  # of those that are numbers: so many leave their neighbourhood
NEIGHBOURHOOD = 0.15  # of a range, as a standard deviation


def make_sampler(name: str, *, seed: int, startup_trials: int) -> optuna.samplers.BaseSampler:
    """Return the sampler that a configuration names; those that need a package of their own are
    checked with the configuration.
    """
    with warnings.catch_warnings():
        warnings.simplefilter(
            "ignore", optuna.exceptions.ExperimentalWarning
        )  # of `group` and `constant_liar`
        if name == "random":
            return optuna.samplers.RandomSampler(seed=seed)
        if name == "grid":
            return Grid(seed=seed)
        if name == "nsga2":
            return optuna.samplers.NSGAIISampler(seed=seed, population_size=max(4, startup_trials))
        if name == "evolution":
            return Evolution(seed=seed, startup_trials=startup_trials)
        if name == "gp":
            return optuna.samplers.GPSampler(seed=seed, n_startup_trials=startup_trials)
        if name == "cmaes":
            return optuna.samplers.CmaEsSampler(seed=seed, n_startup_trials=startup_trials)
        return optuna.samplers.TPESampler(
            seed=seed,
            multivariate=True,
            group=True,
            constant_liar=True,
            n_startup_trials=startup_trials,
        )


class Grid(optuna.samplers.BruteForceSampler):
    """Every point once; the study's attribute `exhausted` says when there is none left."""

    def after_trial(
        self,
        study: optuna.Study,
        trial: optuna.trial.FrozenTrial,
        state: optuna.trial.TrialState,
        values: Sequence[float] | None,
    ) -> None:
        """Note that the space is exhausted, where Optuna would stop a loop of its own."""
        try:
            super().after_trial(study, trial, state, values)
        except RuntimeError:  # Study.stop outside of Study.optimize
            study.set_user_attr("exhausted", True)


class Evolution(optuna.samplers.BaseSampler):
    """One of the best trials, with a few of its hyperparameters drawn anew [1]_.

    Trials are ranked by how far the scheduler let them go, and among those that came as far by
    their value there. Hyperparameters that the parent does not have, because another branch of the
    space was taken, are drawn at random.

    Parameters
    ----------
    seed : int
        Same seed and trials, same proposal.
    startup_trials : int
        So many are drawn at random first.

    References
    ----------
    .. [1] E. Real, A. Aggarwal, Y. Huang and Q. V. Le, "Regularized evolution for image classifier
           architecture search", AAAI 33 (2019). :doi:`10.1609/aaai.v33i01.33014780`; without its
           ageing, for here a trial's value is not drawn again.
    """

    def __init__(self, *, seed: int, startup_trials: int) -> None:
        self._rng, self._startup_trials = np.random.default_rng(seed), startup_trials
        self._random = optuna.samplers.RandomSampler(seed=seed)
        self._parent: dict[str, Any] = {}
        self._mutated: set[str] = set()

    def before_trial(self, study: optuna.Study, trial: FrozenTrial) -> None:
        """Choose a parent and what of it will be drawn anew."""
        ranked = _ranked(study)
        if len(ranked) < self._startup_trials:
            return
        parents = ranked[: max(LEAST_PARENTS, round(PARENTS * len(ranked)))]
        self._parent = dict(parents[self._rng.integers(len(parents))].params)
        names = sorted(self._parent)
        chosen = self._rng.random(len(names)) < MUTATIONS / len(names)
        chosen[self._rng.integers(len(names))] = True  # a copy would teach nothing
        self._mutated = {name for name, one in zip(names, chosen, strict=True) if one}

    def infer_relative_search_space(
        self, study: optuna.Study, trial: FrozenTrial
    ) -> dict[str, BaseDistribution]:
        """Return nothing: a space is known only while it is asked, one hyperparameter after
        another.
        """
        return {}

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """Return nothing, see `infer_relative_search_space`."""
        return {}

    def sample_independent(
        self,
        study: optuna.Study,
        trial: FrozenTrial,
        param_name: str,
        param_distribution: BaseDistribution,
    ) -> Any:
        """Return the parent's value, or another one."""
        value = self._parent.get(param_name)
        held = value is not None and param_distribution._contains(
            param_distribution.to_internal_repr(value)
        )
        if held and param_name not in self._mutated:
            return value
        number = not isinstance(param_distribution, optuna.distributions.CategoricalDistribution)
        near = held and number and self._rng.random() > JUMPS
        while True:
            drawn = (
                self._near(value, param_distribution)
                if near
                else self._random.sample_independent(study, trial, param_name, param_distribution)
            )
            if not held or drawn != value or param_distribution.single():
                return drawn

    def _near(self, value: Any, within: Any) -> float:
        """Return a number near another, on the scale that its range is drawn on."""
        low, high, at = (
            np.log(one) if within.log else float(one) for one in (within.low, within.high, value)
        )
        drawn = float(np.clip(at + self._rng.normal(0, NEIGHBOURHOOD * (high - low)), low, high))
        number = float(np.exp(drawn)) if within.log else drawn
        if isinstance(within, optuna.distributions.IntDistribution):
            stepped = within.low + within.step * round((number - within.low) / within.step)
            return int(np.clip(stepped, within.low, within.high))
        if within.step is not None:
            number = within.low + within.step * round((number - within.low) / within.step)
        return float(np.clip(number, within.low, within.high))


def _ranked(study: optuna.Study) -> list[FrozenTrial]:
    """Return the trials that have a value, the best first: those that ran to their end, then those
    that were stopped latest.
    """

    def rank(trial: FrozenTrial) -> tuple[bool, int, float]:
        if trial.state == TrialState.COMPLETE:
            return False, 0, -float(trial.values[0])
        reached = max(trial.intermediate_values)
        return True, -reached, -trial.intermediate_values[reached]

    trials = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE, TrialState.PRUNED))
    return sorted(
        (trial for trial in trials if trial.values or trial.intermediate_values), key=rank
    )
