"""What every searcher must do: ask, be told how trials ended, and know the same after a resume."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import optuna
import pytest

from search_spaces import SPACES
from search_spaces.baselines import baselines
from search_spaces.bridge import fits
from search_spaces.sizes import Sizes
from study.config import SEARCHERS
from study.record.events import EpochEnded, TrialEnded
from study.record.history import Run
from study.record.identities import Phase, Role, RunId, TrialStatus
from study.trial.task import TrialTask
from study.tune.searcher import OptunaSearcher
from study.tune.tasks import Configuration
from study.tune.trainable import Job

pytestmark = pytest.mark.filterwarnings("ignore::sqlalchemy.exc.SAWarning")
SIZES = Sizes(whole=[128], split=768, patches=[128, 64])
PACKAGES = {"gp": "torch", "cmaes": "cmaes"}  # that a searcher needs besides
TRIALS = 9  # besides the baselines: more than are drawn at random before a sampler begins to model
FINISHED, STOPPED, FAILED = TrialStatus.FINISHED, TrialStatus.STOPPED, TrialStatus.FAILED
ENDS = (FINISHED, FINISHED, STOPPED, FAILED, FINISHED, STOPPED, FINISHED, FINISHED)


def space(hp: Any) -> dict[str, Any]:
    return SPACES["paper"](hp, SIZES)


def make_job(configuration: Configuration) -> Job:
    """A job whose task says nothing but the configuration."""
    task = TrialTask(
        hyperparameters=configuration.hyperparameters,
        store="",
        folder="",
        train_fields=[],
        eval_fields=[],
        eval_split="validation",
        resize="antialiased",
        evaluation_size=32,
        epochs=3,
        batch_size=4,
        patches_per_image=None,
        inference="whole",
        rung_images=1,
        rung_seed=0,
        seed=0,
        threads=1,
    )
    run = RunId(Phase.SEARCH, configuration.trial, 0)
    return Job(run, configuration.label, configuration.role, task)


def past_run(
    job: Job, curve: Mapping[int, float], status: TrialStatus | None = None, reason: str = ""
) -> Run:
    """A trial of an earlier run as a ledger has it: so far, and ended if there is a status."""
    end = None
    if status is not None:
        end = TrialEnded(**job.key, status=status, reason=reason, epoch=max(curve, default=0))
    epochs = {
        epoch: EpochEnded(**job.key, epoch=epoch, metrics={}, cost={}, objective=value)
        for epoch, value in curve.items()
    }
    return Run(job.begun, epochs=epochs, end=end)


def make_searcher(
    *, trials: int = 4, seed: int = 0, sampler: str = "tpe", **changes: Any
) -> OptunaSearcher:
    """A searcher in the paper's space, in memory; any of its arguments can be given."""
    values: dict[str, Any] = {
        "space": space,
        "baselines": baselines(SIZES),
        "make_job": make_job,
        "folder": None,
        "sampler": sampler,
        "seed": seed,
        "trials": trials,
        "past": {},
    }
    return OptunaSearcher(**(values | changes))


def ask(searcher: OptunaSearcher, name: str) -> Job:
    proposed = searcher.suggest(name)
    assert isinstance(proposed, dict), proposed
    return Job.of(proposed)


def finish(searcher: OptunaSearcher, name: str, score: float) -> None:
    for epoch in (1, 2):  # Tune passes the last result only to `on_trial_complete`
        searcher.on_trial_result(name, {"objective": score - 0.1 * (3 - epoch), "epoch": epoch})
    searcher.on_trial_complete(
        name, {"objective": score, "epoch": 3, "finished": True, "score/summary/ssim": score}
    )


def stop(searcher: OptunaSearcher, name: str, score: float) -> None:
    """As the scheduler stops a trial after its first epoch."""
    searcher.on_trial_complete(name, {"objective": score, "epoch": 1, "finished": False})


def fail(searcher: OptunaSearcher, name: str, reason: str) -> None:
    result = {"objective": -1.0, "epoch": 1, "failure": reason}
    searcher.on_trial_result(name, result)
    searcher.on_trial_complete(name, result)


def end(searcher: OptunaSearcher, job: Job, name: str, status: TrialStatus) -> Run:
    """End a trial by a score that its hyperparameters decide; return it as a ledger has it."""
    values = job.task.hyperparameters
    score = 0.5 + 0.01 * values["depth"] + 0.001 * values["filters"]
    if status == FINISHED:
        finish(searcher, name, score)
        return past_run(job, {1: score - 0.1 * 2, 2: score - 0.1 * 1, 3: score}, status)
    if status == STOPPED:
        stop(searcher, name, score)
        return past_run(job, {1: score}, status, "by the scheduler")
    fail(searcher, name, "diverged")
    return past_run(job, {}, status, "diverged")


@pytest.fixture(params=SEARCHERS)
def sampler(request: pytest.FixtureRequest) -> str:
    package = PACKAGES.get(request.param)
    if package and importlib.util.find_spec(package) is None:
        pytest.skip(f"{package} is not installed")
    return str(request.param)


def run(searcher: OptunaSearcher, statuses: tuple[TrialStatus, ...]) -> dict[int, Run]:
    """Run so many trials one after another; return them as a ledger has them."""
    return {
        number: end(searcher, ask(searcher, str(number)), str(number), status)
        for number, status in enumerate(statuses)
    }


def state(searcher: OptunaSearcher) -> list[Any]:
    """All that a sampler can know of each trial."""
    return [
        (
            trial.number,
            trial.state,
            trial.params,
            trial.distributions,
            trial.values,
            trial.intermediate_values,
            trial.user_attrs,
        )
        for trial in searcher.study.trials
    ]


def test_the_baselines_come_first_then_configurations_of_the_space_then_nothing(
    sampler: str,
) -> None:
    searcher = make_searcher(trials=TRIALS, sampler=sampler)
    jobs = [ask(searcher, str(number)) for number in range(TRIALS + 2)]
    assert [job.run.trial.number for job in jobs] == list(range(TRIALS + 2))
    assert [job.role for job in jobs] == [*[Role.BASELINE] * 2, *[Role.SEARCHED] * TRIALS]
    configurations = [job.task.hyperparameters for job in jobs]
    assert configurations[:2] == list(baselines(SIZES).values())
    assert all(fits(space, hyperparameters) for hyperparameters in configurations)
    assert searcher.suggest("more") == "FINISHED"
    assert searcher.proposed == TRIALS + 2


def test_optuna_holds_what_happened(sampler: str, tmp_path: Path) -> None:
    (tmp_path / "study").mkdir()
    searcher = make_searcher(sampler=sampler, folder=tmp_path / "study")
    for name in "abcdef":
        ask(searcher, name)
    finish(searcher, "a", 0.8)
    finish(searcher, "b", 0.7)
    stop(searcher, "c", 0.4)
    fail(searcher, "d", "diverged")
    searcher.on_trial_complete("e", None, error=True)  # Tune says that it failed, and not why
    assert searcher.study.trials[4].state.name == "RUNNING"
    searcher.explain("e", "OSError: no space is left")
    finish(searcher, "f", 0.9)
    trials = searcher.study.trials
    told = ["COMPLETE", "COMPLETE", "PRUNED", "FAIL", "FAIL", "COMPLETE"]
    assert [trial.state.name for trial in trials] == told
    assert trials[0].intermediate_values == pytest.approx({1: 0.6, 2: 0.7, 3: 0.8})
    assert trials[2].intermediate_values == {1: 0.4}
    assert trials[3].user_attrs["reason"] == "diverged"
    assert trials[4].user_attrs["reason"] == "OSError: no space is left"
    assert searcher.study.best_value == 0.9
    stored = f"sqlite:///{tmp_path / 'study' / 'optuna.db'}"
    again = optuna.load_study(study_name="study", storage=stored)
    assert [trial.state for trial in again.trials] == [trial.state for trial in trials]


def test_what_still_runs_can_be_cancelled(sampler: str) -> None:
    searcher = make_searcher(sampler=sampler)
    for name in "abc":
        ask(searcher, name)
    finish(searcher, "a", 0.8)
    searcher.on_trial_complete("b", None, error=True)
    searcher.cancel()
    assert [trial.state.name for trial in searcher.study.trials] == ["COMPLETE", "FAIL", "FAIL"]
    assert {trial.user_attrs["reason"] for trial in searcher.study.trials[1:]} == {"cancelled"}


def test_a_search_one_at_a_time_is_repeated_by_its_seed(sampler: str) -> None:
    def proposed(seed: int) -> list[dict[str, Any]]:
        searcher = make_searcher(trials=TRIALS, seed=seed, sampler=sampler)
        past = run(searcher, (*ENDS, FINISHED))
        return [run.hyperparameters for run in past.values()]

    first = proposed(0)
    assert proposed(0) == first
    assert proposed(1) != first


def test_a_resumed_search_knows_the_same_and_proposes_the_same(sampler: str) -> None:
    straight = make_searcher(trials=TRIALS, sampler=sampler)
    past = run(straight, ENDS)
    resumed = make_searcher(trials=TRIALS, sampler=sampler, past=past)
    assert state(resumed) == state(straight)
    for number in range(len(ENDS), TRIALS + 2):
        jobs = [ask(searcher, str(number)) for searcher in (straight, resumed)]
        assert jobs[0] == jobs[1]
        for searcher, job in zip((straight, resumed), jobs, strict=True):
            end(searcher, job, str(number), FINISHED)
    assert straight.suggest("more") == resumed.suggest("more") == "FINISHED"


def test_a_resumed_search_proposes_again_what_had_not_ended(sampler: str) -> None:
    first = make_searcher(trials=6, sampler=sampler)
    jobs = [ask(first, name) for name in "abcdef"]
    ended = zip(jobs, "abcd", (FINISHED, FINISHED, STOPPED, FAILED), strict=False)
    past = {number: end(first, *one) for number, one in enumerate(ended)}
    # the fifth was under way; the last one was proposed, and never begun
    past[4] = past_run(jobs[4], {1: 0.4})
    again = make_searcher(trials=6, sampler=sampler, past=past)
    told = ["COMPLETE", "COMPLETE", "PRUNED", "FAIL", "RUNNING"]
    assert [trial.state.name for trial in again.study.trials] == told
    proposed = [ask(again, name) for name in "vwxy"]
    assert [job.run.trial.number for job in proposed] == [4, 5, 6, 7]
    assert proposed[0] == jobs[4]
    assert again.suggest("z") == "FINISHED"
