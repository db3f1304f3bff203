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
from study.search.past import PastTrial

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
    past : mapping
        The trials of an earlier run of the same search, by number: told to a new Optuna study, and the unfinished ones
        proposed again.
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
        past: Mapping[int, PastTrial],
    ) -> None:
        super().__init__(metric=OBJECTIVE, mode="max")
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self._space, self._make_job = space, make_job
        self._baselines, self._total = dict(baselines), len(baselines) + trials
        self._sampler, self._seed = sampler, seed
        self._running: dict[str, optuna.Trial] = {}
        self._unfinished: list[tuple[optuna.Trial, dict[str, Any]]] = []
        (folder / STORAGE_FILE).unlink(missing_ok=True)  # made again from the ledger, which is the truth
        self.study = optuna.create_study(storage=f"sqlite:///{folder / STORAGE_FILE}", study_name=folder.name, direction="maximize")
        for number in range(max(past, default=-1) + 1):
            self._replay(number, past.get(number))

    def __getstate__(self) -> dict[str, Any]:
        """Give Tune's snapshot nothing: the state is in the Optuna storage and in the ledger."""
        return {}

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        """Return the configuration of the next trial, or that there is none."""
        if self._unfinished:
            trial, point = self._unfinished.pop(0)
        elif (number := len(self.study.trials)) < self._total:
            trial, point = self._ask(number)
        else:
            return str(Searcher.FINISHED)
        self._running[trial_id] = trial
        return self._make_job(trial.number, self._name(trial.number), point).to_config()

    def _name(self, number: int) -> str | None:
        return list(self._baselines)[number] if number < len(self._baselines) else None

    def _ask(self, number: int, point: dict[str, Any] | None = None) -> tuple[optuna.Trial, dict[str, Any]]:
        """Make Optuna's next trial, at a baseline, at a given point, or where its sampler wants it."""
        name = self._name(number)
        point = self._baselines[name] if name else point
        if point is not None:
            self.study.enqueue_trial(point)
        self.study.sampler = make_sampler(
            self._sampler, seed=derive_seed(self._seed, "sampler", number), startup_trials=len(self._baselines) + 4
        )
        trial = self.study.ask()
        trial.set_user_attr("label", name or "searched")
        return trial, self._space(OptunaHyperParameters(trial))

    def _replay(self, number: int, past: PastTrial | None) -> None:
        """Tell Optuna of a trial of an earlier run as the ledger has it; one that has not ended will be proposed again."""
        trial, point = self._ask(number, None if past is None else past.hyperparameters)
        for epoch, value in sorted(past.curve.items()) if past else ():
            trial.report(value, epoch)
        if past is None or not past.status:
            self._unfinished.append((trial, point))
        elif past.status == "failed":
            trial.set_user_attr("reason", past.reason)
            self.study.tell(trial, state=optuna.trial.TrialState.FAIL)
        elif past.status == "stopped":
            self.study.tell(trial, state=optuna.trial.TrialState.PRUNED)
        else:
            self.study.tell(trial, past.curve[max(past.curve)])

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        """Pass the rung score of an epoch on."""
        if "failure" in result:
            return
        with warnings.catch_warnings():  # an epoch that an earlier run has reported too is the same again
            warnings.filterwarnings("ignore", message=".*already reported.*")
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
