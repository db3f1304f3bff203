"""Optuna behind Ray Tune, told the truth: a trial that was stopped early is PRUNED, one that failed
is FAIL.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import optuna
from optuna.study import StudyDirection
from ray.tune.search import Searcher

from search_spaces.bridge import OptunaHyperParameters
from study.config import derive_seed
from study.record.events import Hyperparameters
from study.record.history import Run
from study.record.identities import Role, TrialId, TrialStatus
from study.tune.resume import WarmStart
from study.tune.samplers import STARTUP_TRIALS, make_sampler
from study.tune.tasks import Configuration, searched_configuration
from study.tune.trainable import FINISHED, OBJECTIVE, Job

STORAGE_FILE = "optuna.db"
NO_WARM_START = WarmStart()
Space = Callable[[Any], Hyperparameters]
MakeJob = Callable[[Configuration], Job]


class OptunaSearcher(Searcher):
    """Proposes the baselines first and then what Optuna's sampler asks for.

    Parameters
    ----------
    space : callable
        Takes `keras_tuner.HyperParameters`, returns hyperparameters.
    baselines : mapping
        Label -> hyperparameters; proposed first, as Optuna trials that the sampler learns from.
    make_job : callable
        Configuration -> job.
    folder : Path or None
        Where the Optuna storage is kept; in memory if None.
    sampler, seed : str and int
        The sampler is seeded anew for every trial, from the study's seed and the trial's number.
    trials : int
        Searched trials, besides the baselines.
    costs : sequence of str
        Costs that are minimised beside the objective; Optuna takes no curves then.
    initial : sequence of dict
        Configurations to try before the sampler proposes any.
    warm : WarmStart
        What an earlier study gives.
    past : mapping
        The trials of an earlier run of the same search, by number: told to a new Optuna study, and
        the unfinished ones proposed again.
    """

    def __init__(
        self,
        space: Space,
        *,
        baselines: Mapping[str, Hyperparameters],
        make_job: MakeJob,
        folder: Path | None,
        sampler: str,
        seed: int,
        trials: int,
        past: Mapping[int, Run],
        costs: Sequence[str] = (),
        initial: Sequence[Hyperparameters] = (),
        warm: WarmStart = NO_WARM_START,
    ) -> None:
        super().__init__(metric=OBJECTIVE, mode="max")
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self._space, self._make_job = space, make_job
        self._baselines, self._total = dict(baselines), len(baselines) + trials
        self._sampler, self._seed = sampler, seed
        self._running: dict[str, optuna.Trial] = {}
        self._failed: dict[str, optuna.Trial] = {}  # for which the reason is awaited
        self._costs = list(costs)
        known = [run.hyperparameters for run in past.values()]
        self._initial = [one for one in (*initial, *warm.proposed) if one not in known]
        self._unfinished: list[tuple[optuna.Trial, Hyperparameters]] = []
        storage = None
        if folder is not None:
            # made again from the ledger, which is the truth
            (folder / STORAGE_FILE).unlink(missing_ok=True)
            storage = f"sqlite:///{folder / STORAGE_FILE}"
        directions = [StudyDirection.MAXIMIZE, *[StudyDirection.MINIMIZE] * len(self._costs)]
        self.study = optuna.create_study(
            storage=storage, study_name=folder.name if folder else None, directions=directions
        )
        self.study.set_user_attr("objectives", [OBJECTIVE, *self._costs])
        for run in warm.told:
            trial, _ = self._ask(run.hyperparameters, label="earlier study")
            self._tell_past(trial, run)
        self._before = len(warm.told)  # Optuna's trials that are none of this study
        for number in range(max(past, default=-1) + 1):
            self._replay(number, past.get(number))

    def __getstate__(self) -> dict[str, Any]:
        """Give Tune's snapshot nothing: the state is in the Optuna storage and in the ledger."""
        return {}

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        """Return the configuration of the next trial, or that there is none."""
        if self._unfinished:
            trial, hyperparameters = self._unfinished.pop(0)
        elif (number := self.proposed) < self._total and not self.exhausted:
            trial, hyperparameters = self._begin(number)
        else:
            return str(Searcher.FINISHED)
        self._running[trial_id] = trial
        number = trial.number - self._before
        return self._make_job(self._configuration(number, hyperparameters)).to_config()

    @property
    def proposed(self) -> int:
        """How many trials were proposed."""
        return len(self.study.trials) - self._before

    @property
    def exhausted(self) -> bool:
        """Whether the space holds no configuration that was not proposed."""
        return bool(self.study.user_attrs.get("exhausted"))

    def _baseline(self, number: int) -> str | None:
        """Return the label of the baseline that a number stands for; None for a searched trial."""
        return list(self._baselines)[number] if number < len(self._baselines) else None

    def _configuration(self, number: int, hyperparameters: Hyperparameters) -> Configuration:
        if (label := self._baseline(number)) is not None:
            return Configuration(TrialId(number), label, Role.BASELINE, hyperparameters)
        return searched_configuration(number, hyperparameters)

    def _begin(
        self, number: int, hyperparameters: Hyperparameters | None = None
    ) -> tuple[optuna.Trial, Hyperparameters]:
        """Make the trial of a number: a baseline, a given configuration, an initial one, or what
        the sampler proposes.
        """
        label = self._baseline(number)
        if label is not None:
            hyperparameters = self._baselines[label]
        elif hyperparameters is None and self._initial:
            hyperparameters = self._initial.pop(0)
        return self._ask(hyperparameters, label=label or "searched")

    def _ask(
        self, hyperparameters: Hyperparameters | None, *, label: str
    ) -> tuple[optuna.Trial, Hyperparameters]:
        if hyperparameters is not None:
            self.study.enqueue_trial(hyperparameters)
        self.study.sampler = make_sampler(
            self._sampler,
            seed=derive_seed(self._seed, "sampler", len(self.study.trials)),
            startup_trials=len(self._baselines) + STARTUP_TRIALS,
        )
        trial = self.study.ask()
        trial.set_user_attr("label", label)
        return trial, self._space(OptunaHyperParameters(trial))

    def _replay(self, number: int, past: Run | None) -> None:
        """Tell Optuna of a trial of an earlier run as the ledger has it; one that has not ended
        will be proposed again.
        """
        known = None if past is None else past.hyperparameters
        trial, hyperparameters = self._begin(number, known)
        if past is None or past.end is None:
            self._unfinished.append((trial, hyperparameters))
        else:
            self._tell_past(trial, past)

    def _tell_past(self, trial: optuna.Trial, past: Run) -> None:
        for epoch, value in past.curve.items():
            self._report(trial, epoch, value)
        if past.end is None:
            raise ValueError(f"{past.label} has not ended")
        values = None
        if past.finished:
            last = past.curve[max(past.curve)]
            values = [last, *(past.cost[name] for name in self._costs)]
        self._tell(trial, past.end.status, values, past.end.reason)

    def _report(self, trial: optuna.Trial, epoch: int, value: float) -> None:
        if self._costs:  # Optuna holds no curve where there are several objectives
            trial.set_user_attr(f"{OBJECTIVE} {epoch}", value)
            return
        with warnings.catch_warnings():
            # an epoch that an earlier run has reported too is the same again
            warnings.filterwarnings("ignore", message=".*already reported.*")
            trial.report(value, epoch)

    def _tell(
        self, trial: optuna.Trial, status: TrialStatus, values: list[float] | None, reason: str
    ) -> None:
        if status == TrialStatus.FINISHED:
            self.study.tell(trial, values)
        elif status == TrialStatus.STOPPED:
            self.study.tell(trial, state=optuna.trial.TrialState.PRUNED)
        else:
            trial.set_user_attr("reason", reason)
            self.study.tell(trial, state=optuna.trial.TrialState.FAIL)

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        """Pass the rung score of an epoch on."""
        if "failure" not in result:
            self._report(self._running[trial_id], result["epoch"], result[OBJECTIVE])

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        """Say how a trial ended: with its score, stopped early, or not at all."""
        trial = self._running.pop(trial_id, None)
        if trial is None:
            return
        if error or not result:
            self._failed[trial_id] = trial
            return
        if "failure" in result:
            self._tell(trial, TrialStatus.FAILED, None, result["failure"])
            return
        # Tune does not pass a trial's last result to `on_trial_result`
        self._report(trial, result["epoch"], result[OBJECTIVE])
        if not result[FINISHED]:
            self._tell(trial, TrialStatus.STOPPED, None, "")
            return
        values = [result[OBJECTIVE], *(result[f"cost/{name}"] for name in self._costs)]
        self._tell(trial, TrialStatus.FINISHED, values, "")

    def explain(self, trial_id: str, reason: str) -> None:
        """Say why a trial failed; Tune tells its searcher that one did, and not why."""
        if (trial := self._failed.pop(trial_id, None)) is not None:
            self._tell(trial, TrialStatus.FAILED, None, reason)

    def cancel(self) -> None:
        """Tell Optuna that what runs was cancelled; a resumed search proposes it again."""
        for trial in (*self._running.values(), *self._failed.values()):
            self._tell(trial, TrialStatus.FAILED, None, "cancelled")
        self._running.clear()
        self._failed.clear()

    def save(self, checkpoint_path: str) -> None:
        """Save nothing: the study's state is in the Optuna storage."""

    def restore(self, checkpoint_path: str) -> None:
        """Restore nothing; see `save`."""
