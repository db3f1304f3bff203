"""What the searcher does besides the contract that every sampler keeps: baselines, costs, grids,
initial configurations, warm starts.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from search_spaces import SPACES
from search_spaces.baselines import baselines
from search_spaces.comparators import initial_configurations
from search_spaces.sizes import Sizes
from study.record.identities import Role, TrialId, TrialStatus
from study.tune.resume import WarmStart
from study.tune.tasks import Configuration
from study.tune.trainable import Job
from tests.contracts.test_searchers import (
    SIZES,
    ask,
    finish,
    make_job,
    make_searcher,
    past_run,
)


def _run(
    number: int,
    hyperparameters: dict[str, Any],
    curve: dict[int, float],
    status: TrialStatus,
    role: Role = Role.SEARCHED,
) -> Any:
    configuration = Configuration(TrialId(number), f"trial {number}", role, hyperparameters)
    return past_run(make_job(configuration), curve, status)


def test_costs_are_told_beside_the_objective_and_again_after_a_resume() -> None:
    searcher = make_searcher(costs=["parameters"])
    job = ask(searcher, "a")
    searcher.on_trial_result("a", {"objective": 0.5, "epoch": 1})
    searcher.on_trial_complete(
        "a", {"objective": 0.8, "epoch": 2, "finished": True, "cost/parameters": 74881.0}
    )
    assert searcher.study.trials[0].values == [0.8, 74881.0]
    past = past_run(job, {1: 0.5, 2: 0.8}, TrialStatus.FINISHED)
    past.epochs[2] = replace(past.epochs[2], cost={"parameters": 74881.0})
    again = make_searcher(costs=["parameters"], past={0: past})
    assert again.study.trials[0].values == [0.8, 74881.0]
    assert len(again.study.best_trials) == 1


def test_a_grid_proposes_every_configuration_once_and_ends() -> None:
    def space(hp: Any) -> dict[str, Any]:
        hp.Choice("family", ["whole", "split"])
        with hp.conditional_scope("family", ["whole"]):
            hp.Int("depth", 1, 3)
        return dict(hp.values)

    searcher = make_searcher(trials=50, sampler="grid", space=space, baselines={})
    seen = []
    for name in map(str, range(50)):
        proposed = searcher.suggest(name)
        if proposed == "FINISHED":
            break
        seen.append(Job.of(proposed).task.hyperparameters)
        finish(searcher, name, 0.5)
    assert sorted(map(str, seen)) == sorted(
        map(
            str,
            [{"family": "split"}, *({"family": "whole", "depth": depth} for depth in (1, 2, 3))],
        )
    )
    assert searcher.exhausted
    assert searcher.proposed == 4


def test_initial_configurations_are_tried_once_also_when_a_search_is_resumed() -> None:
    sizes = Sizes([128], 768, [128], [64])
    unet = initial_configurations(sizes)["unet"]
    options: dict[str, Any] = {
        "space": lambda hp: SPACES["beyond"](hp, sizes),
        "baselines": baselines(sizes),
        "sampler": "random",
        "initial": [unet],
    }
    first = make_searcher(trials=3, **options)
    configurations = [ask(first, name).task.hyperparameters for name in "abcde"]
    assert configurations[2] == unet
    assert configurations.count(unet) == 1
    past = {
        number: _run(
            number,
            hyperparameters,
            {1: 0.5},
            TrialStatus.STOPPED,
            Role.BASELINE if number < 2 else Role.SEARCHED,
        )
        for number, hyperparameters in enumerate(configurations[:4])
    }
    again = make_searcher(trials=6, past=past, **options)
    assert unet not in [ask(again, name).task.hyperparameters for name in "abcd"]
    without = {number: trial for number, trial in past.items() if trial.hyperparameters != unet}
    later = make_searcher(
        trials=6,
        past=without | {2: _run(2, configurations[4], {1: 0.5}, TrialStatus.STOPPED)},
        **options,
    )
    assert ask(later, "a").task.hyperparameters == unet


def test_a_warm_start_is_told_what_holds_here_and_tries_first_what_was_best_elsewhere() -> None:
    configurations = [
        {**baselines(SIZES)["paper's whole image"], "depth": depth} for depth in (1, 4)
    ]
    told = [
        _run(7, configurations[0], {1: 0.4, 2: 0.6}, TrialStatus.FINISHED),
        _run(8, configurations[1], {1: 0.2}, TrialStatus.STOPPED),
    ]
    searcher = make_searcher(warm=WarmStart(told=told))
    assert [trial.state.name for trial in searcher.study.trials] == ["COMPLETE", "PRUNED"]
    jobs = [ask(searcher, name) for name in "abc"]
    # its own numbers, from 0
    assert [job.run.trial for job in jobs] == list(map(TrialId, range(3)))
    assert [job.role for job in jobs] == [Role.BASELINE, Role.BASELINE, Role.SEARCHED]

    searcher = make_searcher(warm=WarmStart(proposed=configurations))
    jobs = [ask(searcher, name) for name in "abcde"]
    assert [job.task.hyperparameters for job in jobs[2:4]] == configurations
    assert jobs[4].task.hyperparameters not in configurations
