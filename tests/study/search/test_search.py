"""The searcher and the scheduler, driven by hand as Tune drives them."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import optuna
import pytest
from ray.tune.schedulers import TrialScheduler

from search_spaces import SPACES
from search_spaces.baselines import baselines
from search_spaces.sizes import Sizes
from study.config import DatasetConfig, SearchConfig, StudyConfig, TrainingConfig
from study.data.splits import Split
from study.search.confirm import choose_candidates, confirm_jobs, leak_jobs
from study.search.jobs import Job
from study.search.past import PastTrial, past_trials
from study.search.scheduler import make_scheduler
from study.search.searcher import OptunaSearcher
from study.search.tuning import find_problems

SIZES = Sizes(whole=[128], split=768, patches=[128, 64])


def make_searcher(
    folder: Path, *, trials: int = 4, seed: int = 0, sampler: str = "tpe", past: dict[int, PastTrial] | None = None
) -> OptunaSearcher:
    folder.mkdir(exist_ok=True)
    return OptunaSearcher(
        lambda hp: SPACES["paper"](hp, SIZES),
        baselines=baselines(SIZES),
        make_job=lambda number, label, point: Job("search", number, 0, label or str(number), bool(label), {"hyperparameters": point}),
        folder=folder,
        sampler=sampler,
        seed=seed,
        trials=trials,
        past=past or {},
    )


def finish(searcher: OptunaSearcher, name: str, score: float) -> None:
    for epoch in (1, 2, 3):
        searcher.on_trial_result(name, {"objective": score - 0.1 * (3 - epoch), "epoch": epoch})
    searcher.on_trial_complete(name, {"objective": score, "epoch": 3, "finished": True, "score/summary/ssim": score})


@pytest.mark.filterwarnings("ignore::sqlalchemy.exc.SAWarning")
def test_optuna_holds_what_happened(tmp_path: Path) -> None:
    searcher = make_searcher(tmp_path / "study")
    proposed = [Job.of(searcher.suggest(name)) for name in "abcdef"]  # type: ignore[arg-type]
    assert [job.baseline for job in proposed] == [True, True, False, False, False, False]
    assert [job.task["hyperparameters"] for job in proposed[:2]] == list(baselines(SIZES).values())
    assert searcher.suggest("g") == "FINISHED"
    finish(searcher, "a", 0.8)
    finish(searcher, "b", 0.7)
    searcher.on_trial_result("c", {"objective": 0.4, "epoch": 1})
    searcher.on_trial_complete("c", {"objective": 0.4, "epoch": 1, "finished": False})  # stopped by the scheduler
    searcher.on_trial_result("d", {"objective": -1.0, "epoch": 1, "failure": "diverged"})
    searcher.on_trial_complete("d", {"objective": -1.0, "epoch": 1, "failure": "diverged"})
    searcher.on_trial_complete("e", None, error=True)
    finish(searcher, "f", 0.9)
    trials = searcher.study.trials
    assert [trial.state.name for trial in trials] == ["COMPLETE", "COMPLETE", "PRUNED", "FAIL", "FAIL", "COMPLETE"]
    assert trials[0].intermediate_values == pytest.approx({1: 0.6, 2: 0.7, 3: 0.8})
    assert trials[2].intermediate_values == {1: 0.4}
    assert trials[3].user_attrs["reason"] == "diverged"
    assert trials[4].user_attrs["reason"] == "worker lost"
    assert searcher.study.best_value == 0.9
    again = optuna.load_study(study_name="study", storage=f"sqlite:///{tmp_path / 'study' / 'optuna.db'}")
    assert [trial.state for trial in again.trials] == [trial.state for trial in trials]


@pytest.mark.filterwarnings("ignore::sqlalchemy.exc.SAWarning")
@pytest.mark.parametrize("sampler", ["tpe", "random"])
def test_a_search_one_at_a_time_comes_back_with_its_seed(tmp_path: Path, sampler: str) -> None:
    def run(folder: str, seed: int) -> list[dict[str, Any]]:
        searcher = make_searcher(tmp_path / folder, trials=8, seed=seed, sampler=sampler)
        points = []
        for number in range(10):
            job = Job.of(searcher.suggest(str(number)))  # type: ignore[arg-type]
            points.append(job.task["hyperparameters"])
            finish(searcher, str(number), 0.5 + 0.01 * points[-1]["depth"])
        return points

    first = run("a", 0)
    assert run("b", 0) == first
    assert run("c", 1) != first


ASHA = StudyConfig(search=SearchConfig(grace_epochs=1, reduction_factor=2), training=TrainingConfig(epochs=9))


def test_a_scheduler_that_would_have_stopped_a_baseline_does_not() -> None:
    scheduler = make_scheduler(ASHA, {})
    decisions = {}
    for name, baseline, score in (
        ("best baseline", True, 0.99),
        ("fine", False, 0.8),
        ("good", False, 0.9),
        ("poor", False, 0.1),
        ("baseline", True, 0.1),
    ):
        trial: Any = SimpleNamespace(trial_id=name, config=Job("search", 0, 0, name, baseline, {}).to_config())
        scheduler.on_trial_add(None, trial)
        decisions[name] = scheduler.on_trial_result(None, trial, {"epoch": 1, "objective": score})
    assert decisions["poor"] == TrialScheduler.STOP  # the same score as the baseline's: it would have been stopped
    assert decisions["baseline"] == TrialScheduler.CONTINUE
    assert decisions["fine"] == decisions["good"] == TrialScheduler.CONTINUE  # baselines do not stand in the rungs


def test_a_resumed_scheduler_knows_the_rungs_of_the_earlier_run() -> None:
    past = {number: PastTrial(number, number == 0, {}, {1: value}) for number, value in enumerate((0.99, 0.8, 0.9))}
    trial: Any = SimpleNamespace(trial_id="new", config=Job("search", 3, 0, "new", False, {}).to_config())
    for earlier, decision in ((past, TrialScheduler.STOP), ({}, TrialScheduler.CONTINUE)):
        scheduler = make_scheduler(ASHA, earlier)
        scheduler.on_trial_add(None, trial)
        assert scheduler.on_trial_result(None, trial, {"epoch": 1, "objective": 0.1}) == decision


@pytest.mark.filterwarnings("ignore::sqlalchemy.exc.SAWarning")
def test_a_resumed_search_tells_optuna_the_same_and_takes_up_what_had_not_ended(tmp_path: Path) -> None:
    first = make_searcher(tmp_path / "study", trials=6)
    jobs = [Job.of(first.suggest(name)) for name in "abcdef"]  # type: ignore[arg-type]
    statuses = ["finished", "finished", "stopped", "failed", "", None]  # the last one was proposed, and never begun
    events: list[dict[str, Any]] = []
    for job, status in zip(jobs, statuses, strict=True):
        if status is not None:
            events.append(event("trial", job.trial, baseline=job.baseline, hyperparameters=job.task["hyperparameters"]))
            events.append(event("epoch", job.trial, epoch=1, objective=0.1 * job.trial, cost={}))
        if status:
            events.append(event("trial_end", job.trial, status=status, reason="diverged" if status == "failed" else ""))
    again = make_searcher(tmp_path / "study", trials=6, past=past_trials(events))
    states = [trial.state.name for trial in again.study.trials]
    assert states == ["COMPLETE", "COMPLETE", "PRUNED", "FAIL", "RUNNING"]
    assert [trial.params for trial in again.study.trials] == [trial.params for trial in first.study.trials[:5]]
    assert again.study.trials[2].intermediate_values == {1: pytest.approx(0.2)}
    assert again.study.trials[3].user_attrs["reason"] == "diverged"
    proposed = [Job.of(again.suggest(name)) for name in "vwxy"]  # type: ignore[arg-type]
    assert [job.trial for job in proposed] == [4, 5, 6, 7]
    assert proposed[0].task == jobs[4].task
    assert again.suggest("z") == "FINISHED"


def event(kind: str, trial: int, **values: Any) -> dict[str, Any]:
    return {"event": kind, "phase": "search", "trial": trial, "replicate": 0, **values}


def test_candidates_are_the_baselines_and_the_best_on_validation() -> None:
    events = [event("trial", trial, baseline=trial < 2, label=str(trial)) for trial in range(6)]
    events += [event("score", trial, summary={"objective": ssim}) for trial, ssim in {0: 0.1, 1: 0.2, 2: 0.5, 4: 0.7, 5: 0.6}.items()]
    assert choose_candidates(events, best=2) == [0, 1, 4, 5]
    assert choose_candidates(events, best=0) == [0, 1]


def test_confirmation_trains_on_all_but_the_test_set_with_a_seed_for_each_replicate() -> None:
    points = {0: {"label": "a", "baseline": True, "hyperparameters": {}}, 3: {"label": "b", "baseline": False, "hyperparameters": {}}}
    split = Split(train=[4, 1], validation=[2], test=[0, 3])
    store: Any = SimpleNamespace(fields=list("abcde"), levels=[0, 16, 33])
    jobs = confirm_jobs(StudyConfig(name="x"), points, {"epochs": 1}, split, store, epochs={3: 7})
    assert [job.task["epochs"] for job in jobs] == [1, 1, 1, 7, 7, 7]
    assert [(job.trial, job.replicate) for job in jobs] == [(0, 0), (0, 1), (0, 2), (3, 0), (3, 1), (3, 2)]
    assert all(job.task["train"] == [1, 2, 4] and job.task["judge"] == [0, 3] and job.task["judged_on"] == "test" for job in jobs)
    assert len({job.task["seed"] for job in jobs}) == 6
    leaking = leak_jobs(StudyConfig(name="x"), points, {"epochs": 1}, split, store)
    assert [job.task["seed"] for job in leaking] == [job.task["seed"] for job in jobs]
    assert all(job.task["train"] == [0, 1, 2, 3, 4] and job.task["judge"] == [0, 3] for job in leaking)
    assert len({str(job.task["held_out"]) for job in leaking}) == 1
    literal = confirm_jobs(StudyConfig(name="x", dataset=DatasetConfig(split="within_levels")), points, {}, split, store, epochs={})
    assert all(job.task["train"] == job.task["judge"] == [0, 1, 2, 3, 4] for job in literal)


def test_a_baseline_that_did_not_run_is_a_problem() -> None:
    events = [event("trial", trial, baseline=trial == 0, label="whole") for trial in range(2)]
    done = [event("trial_end", 1, status="finished", reason="")]
    failed = event("trial_end", 0, status="failed", reason="out of memory")
    fine = event("trial_end", 0, status="finished", reason="")
    stopped = event("trial_end", 1, status="stopped", reason="by the scheduler")
    assert find_problems([*events, *done, failed]) == ["whole did not run to its end (search, seed 0): out of memory"]
    assert find_problems([*events, *done, fine]) == []
    assert find_problems([*events, stopped, fine]) == ["no searched trial ran to its end"]
    assert find_problems([]) == ["no trial ran"]
    confirmed = [{**row, "phase": "confirm"} for row in (*events, fine, event("trial_end", 1, status="failed", reason="lost"))]
    assert find_problems([*events, *done, fine, *confirmed]) == ["whole did not run to its end (confirm, seed 0): lost"]
