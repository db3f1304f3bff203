"""Optuna behind Ray Tune, told the truth: a trial that was stopped early is PRUNED, one that failed is FAIL."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import optuna
from ray.tune.search import Searcher

from search_spaces.bridge import OptunaHyperParameters
from study.config import derive_seed
from study.search.jobs import FINISHED, OBJECTIVE, Job

STORAGE_FILE = "optuna.db"
Space = Callable[[Any], dict[str, Any]]
MakeJob = Callable[[int, str | None, dict[str, Any]], Job]


def make_sampler(name: str, *, seed: int, startup_trials: int) -> optuna.samplers.BaseSampler:
    """Return the sampler that a configuration names."""
    if name == "random":
        return optuna.samplers.RandomSampler(seed=seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)  # of `group` and `constant_liar`
        return optuna.samplers.TPESampler(seed=seed, multivariate=True, group=True, constant_liar=True, n_startup_trials=startup_trials)


class OptunaSearcher(Searcher):
    """Proposes the baselines first and then what Optuna's sampler asks for.

    Parameters
    ----------
    space : callable
        Takes `keras_tuner.HyperParameters`, returns a point.
    baselines : mapping
        Name -> point; proposed first, as Optuna trials that the sampler learns from.
    make_job : callable
        Number, the baseline's name if it is one, and point -> job.
    folder : Path
        Where the Optuna storage is kept.
    sampler, seed : str and int
        The sampler is seeded anew for every trial, from the study's seed and the trial's number.
    trials : int
        Searched trials, besides the baselines.
    """

    def __init__(
        self,
        space: Space,
        *,
        baselines: Mapping[str, dict[str, Any]],
        make_job: MakeJob,
        folder: Path,
        sampler: str,
        seed: int,
        trials: int,
    ) -> None:
        super().__init__(metric=OBJECTIVE, mode="max")
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self._space, self._make_job = space, make_job
        self._names, self._total = list(baselines), len(baselines) + trials
        self._sampler, self._seed = sampler, seed
        self._running: dict[str, optuna.Trial] = {}
        self.study = optuna.create_study(
            storage=f"sqlite:///{folder / STORAGE_FILE}", study_name=folder.name, direction="maximize", load_if_exists=False
        )
        for point in baselines.values():
            self.study.enqueue_trial(point)

    def __getstate__(self) -> dict[str, Any]:
        """Give Tune's snapshot nothing: the state is in the Optuna storage and in the ledger."""
        return {}

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        """Return the configuration of the next trial, or that there is none."""
        number = len(self.study.trials) - len(self.study.get_trials(deepcopy=False, states=(optuna.trial.TrialState.WAITING,)))
        if number >= self._total:
            return str(Searcher.FINISHED)
        self.study.sampler = make_sampler(
            self._sampler, seed=derive_seed(self._seed, "sampler", number), startup_trials=len(self._names) + 4
        )
        trial = self.study.ask()
        point = self._space(OptunaHyperParameters(trial))
        label = self._names[trial.number] if trial.number < len(self._names) else None
        trial.set_user_attr("label", label or "searched")
        self._running[trial_id] = trial
        return self._make_job(trial.number, label, point).to_config()

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        """Pass the rung score of an epoch on."""
        if "failure" not in result:
            self._running[trial_id].report(result[OBJECTIVE], result["epoch"])

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """Say how a trial ended: with its score, stopped early, or not at all."""
        trial = self._running.pop(trial_id, None)
        if trial is None:
            return
        if error or result is None or "failure" in result:
            trial.set_user_attr("reason", "worker lost" if not result else result.get("failure", "error"))
            self.study.tell(trial, state=optuna.trial.TrialState.FAIL)
        elif not result[FINISHED]:
            self.study.tell(trial, state=optuna.trial.TrialState.PRUNED)
        else:
            self.study.tell(trial, result[OBJECTIVE])

    def save(self, checkpoint_path: str) -> None:
        """Save nothing: the study's state is in the Optuna storage."""

    def restore(self, checkpoint_path: str) -> None:
        """Restore nothing; see `save`."""
