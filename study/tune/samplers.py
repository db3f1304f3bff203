"""The samplers that a search can be driven by: Optuna's, and every configuration of a grid."""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import optuna

from study.errors import StudyError

STARTUP_TRIALS = 4  # drawn at random before a sampler begins to model


def make_sampler(name: str, *, seed: int, startup_trials: int) -> optuna.samplers.BaseSampler:
    """Return the sampler that a configuration names; those that need a package of their own are
    checked with the configuration.
    """
    with warnings.catch_warnings():
        # of `group` and `constant_liar`
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        if name == "random":
            return optuna.samplers.RandomSampler(seed=seed)
        if name == "grid":
            return Grid(seed=seed)
        if name == "nsga2":
            return optuna.samplers.NSGAIISampler(seed=seed, population_size=max(4, startup_trials))
        if name == "gp":
            return optuna.samplers.GPSampler(seed=seed, n_startup_trials=startup_trials)
        if name == "cmaes":
            return optuna.samplers.CmaEsSampler(seed=seed, n_startup_trials=startup_trials)
        if name != "tpe":
            raise StudyError(
                f"search.searcher {name!r} is not known any more: go on with another one, such as"
                " --extend STUDY --search.searcher tpe"
            )
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
