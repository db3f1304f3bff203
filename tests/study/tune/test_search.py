"""What a search is given and leaves; `tests/contracts` holds what every searcher and scheduler
does.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import optuna
import pytest

from search_spaces import SPACES
from search_spaces.baselines import baselines
from search_spaces.comparators import initial_configurations
from search_spaces.sizes import Sizes
from study.config import DatasetConfig, SearchConfig, SizesConfig, StudyConfig, TrainingConfig
from study.data.splits import Split
from study.data.store import Store
from study.errors import StudyError
from study.models.autoencoder import count_training_operations
from study.record.ledger import Ledger
from study.tune import proposals
from study.tune.budget import affordable_epochs, expected_course
from study.tune.resume import PastTrial, WarmStart, earlier_winner, past_trials, warm_trials
from study.tune.samplers import make_sampler
from study.tune.trainable import Job
from study.workflow.confirmation import choose_candidates, confirm_jobs, leak_jobs
from study.workflow.preflight import check_sides
from study.workflow.study import find_problems
from tests.contracts.test_searchers import SIZES, ask, finish, make_searcher


def test_a_budget_in_operations_is_kept_by_epochs_and_counted_by_hand() -> None:
    hyperparameters = {
        "family": "unet",
        "image_size": 128,
        "crop_size": 64,
        "depth": 1,
        "unet_filters": 8,
        "growth": 1,
        "convolutions": 1,
        "kernel": 3,
        "activation": "relu",
        "normalisation": "none",
        "skip": "none",
        "residual": True,
        "upsampling": "resize",
        "dropout": 0.0,
    }
    # products of the convolutions at 64 px: 1 -> 8 at 64, 8 -> 8 at 32, after the up-sampling 8 ->
    # 8 and 8 -> 8 at 64, 8 -> 1 at 64
    forward = 2 * 9 * (8 * 64**2 + 64 * 32**2 + 2 * 64 * 64**2 + 8 * 64**2)
    assert count_training_operations(hyperparameters, patches=10) == 10 * 3 * forward
    for images_per_epoch, images in ((None, 700), (100, 100)):
        training = TrainingConfig(epochs=50, patches_per_image=1, images_per_epoch=images_per_epoch)
        for epochs in (1, 7):
            config = StudyConfig(
                training=training,
                search=SearchConfig(max_tflop=(epochs + 0.5) * images * 3 * forward / 1e12),
            )
            assert affordable_epochs(config, hyperparameters, images=700) == epochs
        assert affordable_epochs(StudyConfig(training=training), hyperparameters, images=700) == 50
        assert (
            affordable_epochs(
                StudyConfig(training=training, search=SearchConfig(max_tflop=1e-9)),
                hyperparameters,
                images=700,
            )
            == 1
        )


def test_evolution_changes_a_little_of_one_of_the_best() -> None:
    def space(trial: optuna.Trial) -> dict[str, Any]:
        hyperparameters: dict[str, Any] = {
            "family": trial.suggest_categorical("family", ["a", "b"]),
            "rate": trial.suggest_float("rate", 1e-4, 1e-1, log=True),
        }
        for name in "uvwxyz":
            hyperparameters[name] = trial.suggest_int(name, 1, 9)
        if hyperparameters["family"] == "b":
            hyperparameters["only b"] = trial.suggest_categorical("only b", [False, True])
        return hyperparameters

    study = optuna.create_study(direction="maximize")
    for number in range(12):  # the first three ran to their end, the others were stopped
        trial = study.ask()
        space(trial)
        trial.report(number / 100, 1)
        if number < 3:
            study.tell(trial, 0.5 + number / 100)
        else:
            study.tell(trial, state=optuna.trial.TrialState.PRUNED)
    parents = [study.trials[number].params for number in (2, 1, 0)]
    changed = []
    for seed in range(60):
        study.sampler = make_sampler("evolution", seed=seed, startup_trials=4)
        child = space(study.ask())
        study.tell(len(study.trials) - 1, state=optuna.trial.TrialState.FAIL)
        distances = [
            sum(child.get(name) != value for name, value in parent.items()) for parent in parents
        ]
        changed.append(min(distances))
        assert ("only b" in child) == (child["family"] == "b")
        assert 1e-4 <= child["rate"] <= 1e-1
    assert min(changed) >= 1  # never the same again
    assert np.mean(changed) < 4  # of 8 or 9
    before = make_sampler("evolution", seed=0, startup_trials=40)
    study.sampler = before
    assert (
        min(
            sum(space(study.ask())[name] != parent[name] for name in "uvwxyz") for parent in parents
        )
        > 2
    )  # at random, as yet


def test_the_epochs_that_asha_leaves_of_a_search() -> None:
    config = StudyConfig(
        training=TrainingConfig(epochs=24),
        search=SearchConfig(grace_epochs=1, reduction_factor=3, trials=1),
    )
    assert expected_course(config) == (24, 1)  # one alone is compared with none
    two = replace(config, search=SearchConfig(grace_epochs=1, reduction_factor=3, trials=2))
    # the second is stopped at its first rung if the first is better: half of the time; else both go
    # on, in the same order, to the end
    epochs, share = expected_course(two)
    assert share == pytest.approx(0.75, abs=0.05)
    assert epochs == pytest.approx((24 + 24 + 24 + 1) / 4, abs=1.2)
    many = replace(config, search=SearchConfig(grace_epochs=1, reduction_factor=3, trials=400))
    assert expected_course(many)[0] == pytest.approx(1 + 2 / 3 + 6 / 9 + 15 / 27, rel=0.2)
    epochs, share = expected_course(many, reached=9)  # the last rung is behind it
    assert (epochs, share) == (24, 1)
    assert expected_course(replace(config, search=SearchConfig(scheduler="none"))) == (24, 1)


def test_the_winner_of_the_earlier_study_is_who_was_best_on_validation(tmp_path: Path) -> None:
    with Ledger(tmp_path / "earlier") as ledger:
        ledger.append("study", config={"search": {"space": "paper"}})
        for number, (phase, score) in enumerate(
            (("search", 0.7), ("search", 0.9), ("search", 0.8))
        ):
            key = {"phase": phase, "trial": number, "replicate": 0}
            ledger.append(
                "trial",
                **key,
                baseline=number == 1,
                label=f"trial {number}",
                hyperparameters={"depth": number},
            )
            ledger.append("score", **key, summary={"objective": score})
        ledger.append(
            "score", phase="confirm", trial=0, replicate=0, summary={"objective": 0.99}
        )  # the test set has no say
    config = StudyConfig(search=SearchConfig(warm_start=str(tmp_path / "earlier")))
    assert earlier_winner(config) == ("winner of earlier", {"depth": 2})


def test_costs_are_told_beside_the_objective_and_again_after_a_resume() -> None:
    searcher = make_searcher(costs=["parameters"])
    job = ask(searcher, "a")
    searcher.on_trial_result("a", {"objective": 0.5, "epoch": 1})
    searcher.on_trial_complete(
        "a", {"objective": 0.8, "epoch": 2, "finished": True, "cost/parameters": 74881.0}
    )
    assert searcher.study.trials[0].values == [0.8, 74881.0]
    events = [
        event("trial", 0, baseline=True, hyperparameters=job.task["hyperparameters"]),
        event("epoch", 0, epoch=2, objective=0.8, cost={"parameters": 74881.0}),
        event("trial_end", 0, status="finished", reason=""),
    ]
    again = make_searcher(costs=["parameters"], past=past_trials(events))
    assert again.study.trials[0].values == [0.8, 74881.0]
    assert len(again.study.best_trials) == 1


def test_a_grid_proposes_every_point_once_and_ends() -> None:
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
        seen.append(Job.of(proposed).task["hyperparameters"])
        finish(searcher, name, 0.5)
    assert sorted(map(str, seen)) == sorted(
        map(
            str,
            [{"family": "split"}, *({"family": "whole", "depth": depth} for depth in (1, 2, 3))],
        )
    )
    assert searcher.exhausted
    assert searcher.proposed == 4


def test_points_to_begin_with_are_tried_once_also_when_a_search_is_gone_on_with() -> None:
    sizes = Sizes([128], 768, [128], [64])
    unet = initial_configurations(sizes)["unet"]
    options: dict[str, Any] = {
        "space": lambda hp: SPACES["beyond"](hp, sizes),
        "baselines": baselines(sizes),
        "sampler": "evolution",
        "first": [unet],
    }
    first = make_searcher(trials=3, **options)
    configurations = [ask(first, name).task["hyperparameters"] for name in "abcde"]
    assert configurations[2] == unet
    assert configurations.count(unet) == 1
    past = {
        number: PastTrial(number, number < 2, hyperparameters, {1: 0.5}, {}, "stopped")
        for number, hyperparameters in enumerate(configurations[:4])
    }
    again = make_searcher(trials=6, past=past, **options)
    assert unet not in [ask(again, name).task["hyperparameters"] for name in "abcd"]
    without = {number: trial for number, trial in past.items() if trial.hyperparameters != unet}
    later = make_searcher(
        trials=6,
        past=without | {2: PastTrial(2, False, configurations[4], {1: 0.5}, {}, "stopped")},
        **options,
    )
    assert ask(later, "a").task["hyperparameters"] == unet


def test_a_warm_start_is_told_what_holds_here_and_tries_first_what_was_best_elsewhere() -> None:
    configurations = [
        {**baselines(SIZES)["paper's whole image"], "depth": depth} for depth in (1, 4)
    ]
    told = [
        PastTrial(7, False, configurations[0], {1: 0.4, 2: 0.6}, {}, "finished"),
        PastTrial(8, False, configurations[1], {1: 0.2}, {}, "stopped"),
    ]
    searcher = make_searcher(warm=WarmStart(told=told))
    assert [trial.state.name for trial in searcher.study.trials] == ["COMPLETE", "PRUNED"]
    jobs = [ask(searcher, name) for name in "abc"]
    assert [job.trial for job in jobs] == [0, 1, 2]  # its own numbers, from 0
    assert [job.baseline for job in jobs] == [True, True, False]

    searcher = make_searcher(warm=WarmStart(proposed=configurations))
    jobs = [ask(searcher, name) for name in "abcde"]
    assert [job.task["hyperparameters"] for job in jobs[2:4]] == configurations
    assert jobs[4].task["hyperparameters"] not in configurations


@pytest.mark.filterwarnings("ignore::sqlalchemy.exc.SAWarning")
def test_trials_of_a_space_without_todays_switches_are_gone_on_with_and_started_from(
    store: Store, tmp_path: Path
) -> None:
    robust = initial_configurations(Sizes([128], 768, [128]))["robust"]
    off = {
        "relative_loss": False,
        "augment_light": False,
        "global_context": False,
        "weigh_near_focus": False,
    }
    older = {name: value for name, value in robust.items() if name not in off}
    strange = {name: value for name, value in robust.items() if name != "unet_filters"}
    with Ledger(tmp_path / "earlier") as ledger:
        config = StudyConfig(name="earlier", search=SearchConfig(space="beyond"))
        ledger.append("study", config=config.to_dict(), store={"fingerprint": "of other images"})
        for trial, hyperparameters in enumerate((older, strange)):
            ledger.append(
                "trial",
                phase="search",
                trial=trial,
                baseline=False,
                hyperparameters=hyperparameters,
            )
            ledger.append("epoch", phase="search", trial=trial, epoch=1, objective=0.5, cost={})
            ledger.append("trial_end", phase="search", trial=trial, status="finished", reason="")
    config = StudyConfig(
        name="later",
        sizes=SizesConfig(),
        search=SearchConfig(space="beyond", warm_start=str(tmp_path / "earlier")),
    )
    (tmp_path / "later").mkdir()
    past = {
        number: PastTrial(number, True, hyperparameters, {1: 0.5}, {}, "finished")
        for number, hyperparameters in enumerate(baselines(SIZES).values())
    }
    past[2] = PastTrial(2, False, older | {"learning_rate": 1e-3}, {1: 0.6}, {}, "stopped")
    searcher = proposals.make_searcher(
        config, store, Split([0], [1], [2]), folder=tmp_path / "later", past=past
    )
    told = searcher.study.trials[2].params
    assert {name: told[name] for name in off} == off
    proposed = ask(searcher, "a").task["hyperparameters"]
    assert proposed == older | off
    proposed = ask(searcher, "b").task["hyperparameters"]
    assert proposed != strange


@pytest.mark.parametrize(("same", "told", "proposed"), [(True, [2, 3], 0), (False, [], 1)])
def test_what_an_earlier_study_gives(
    same: bool, told: list[int], proposed: int, tmp_path: Path
) -> None:
    config = StudyConfig(
        name="x", search=SearchConfig(warm_start=str(tmp_path), level_weights={23: 2.0})
    )  # whose keys JSON makes texts
    with Ledger(tmp_path) as ledger:
        ledger.append("study", config=config.to_dict(), store={"fingerprint": "abc"})
        for trial, status in enumerate(["finished", "finished", "finished", "stopped", "failed"]):
            key = {"phase": "search", "trial": trial, "replicate": 0}
            ledger.append("trial", **key, baseline=trial < 2, hyperparameters={"depth": trial})
            ledger.append("epoch", **key, epoch=1, objective=0.1 * trial, cost={})
            ledger.append("trial_end", **key, status=status, reason="")
    store: Any = SimpleNamespace(fingerprint="abc" if same else "def")
    found = warm_trials(config, store)
    assert [trial.number for trial in found.told] == told
    assert found.proposed == [{"depth": 2}] * proposed
    other = StudyConfig(name="x", search=SearchConfig(space="beyond", warm_start=str(tmp_path)))
    with pytest.raises(StudyError, match="searched the space paper, not beyond"):
        warm_trials(other, store)


def event(kind: str, trial: int, **values: Any) -> dict[str, Any]:
    return {"event": kind, "phase": "search", "trial": trial, "replicate": 0, **values}


def test_candidates_are_the_baselines_and_the_best_on_validation() -> None:
    events = [event("trial", trial, baseline=trial < 2, label=str(trial)) for trial in range(6)]
    events += [
        event("score", trial, summary={"objective": ssim})
        for trial, ssim in {0: 0.1, 1: 0.2, 2: 0.5, 4: 0.7, 5: 0.6}.items()
    ]
    assert choose_candidates(events, best=2) == [0, 1, 4, 5]
    assert choose_candidates(events, best=0) == [0, 1]


def test_confirmation_trains_on_all_but_the_test_set_with_a_seed_for_each_replicate() -> None:
    configurations = {
        0: {"label": "a", "baseline": True, "hyperparameters": {}},
        3: {"label": "b", "baseline": False, "hyperparameters": {}},
    }
    split = Split(train=[4, 1], validation=[2], test=[0, 3])
    store: Any = SimpleNamespace(fields=list("abcde"), levels=[0, 16, 33])
    jobs = confirm_jobs(
        StudyConfig(name="x"), configurations, {"epochs": 1}, split, store, epochs={3: 7}
    )
    assert [job.task["epochs"] for job in jobs] == [1, 1, 1, 7, 7, 7]
    assert [(job.trial, job.replicate) for job in jobs] == [
        (0, 0),
        (0, 1),
        (0, 2),
        (3, 0),
        (3, 1),
        (3, 2),
    ]
    assert all(
        job.task["train_fields"] == [1, 2, 4]
        and job.task["eval_fields"] == [0, 3]
        and job.task["eval_split"] == "test"
        for job in jobs
    )
    assert len({job.task["seed"] for job in jobs}) == 6
    leaking = leak_jobs(
        StudyConfig(name="x"), configurations, {"epochs": 1}, split, store, epochs={0: 5, 3: 7}
    )
    assert [job.task["epochs"] for job in leaking] == [5] * 3 + [7] * 3
    assert [job.task["seed"] for job in leaking] == [job.task["seed"] for job in jobs]
    assert all(
        job.task["train_fields"] == [0, 1, 2, 3, 4] and job.task["eval_fields"] == [0, 3]
        for job in leaking
    )
    assert len({str(job.task["held_out"]) for job in leaking}) == 1
    literal = confirm_jobs(
        StudyConfig(name="x", dataset=DatasetConfig(split="within_levels")),
        configurations,
        {},
        split,
        store,
        epochs={},
    )
    assert all(
        job.task["train_fields"] == job.task["eval_fields"] == [0, 1, 2, 3, 4] for job in literal
    )


def test_a_baseline_that_did_not_run_is_a_problem() -> None:
    events = [event("trial", trial, baseline=trial == 0, label="whole") for trial in range(2)]
    done = [event("trial_end", 1, status="finished", reason="")]
    failed = event("trial_end", 0, status="failed", reason="out of memory")
    fine = event("trial_end", 0, status="finished", reason="")
    stopped = event("trial_end", 1, status="stopped", reason="by the scheduler")
    assert find_problems([*events, *done, failed]) == [
        "whole did not run to its end (search, seed 0): out of memory"
    ]
    assert find_problems([*events, *done, fine]) == []
    assert find_problems([*events, stopped, fine]) == ["no searched trial ran to its end"]
    assert find_problems([]) == ["no trial ran"]
    confirmed = [
        {**row, "phase": "confirm"}
        for row in (*events, fine, event("trial_end", 1, status="failed", reason="lost"))
    ]
    assert find_problems([*events, *done, fine, *confirmed]) == [
        "whole did not run to its end (confirm, seed 0): lost"
    ]


def test_with_costs_only_the_front_is_confirmed() -> None:
    found = (
        (0.5, 10),
        (0.9, 300),
        (0.8, 100),
        (0.7, 200),
        (0.8, 100),
        (0.6, 50),
    )  # the fourth is beaten by the third; the fifth equals it
    events = [event("trial", number, baseline=number == 0) for number in range(len(found))]
    events += [
        event("score", number, summary={"objective": score}, cost={"parameters": cost})
        for number, (score, cost) in enumerate(found)
    ]
    assert choose_candidates(events, best=9, costs=["parameters"]) == [0, 1, 2, 4, 5]
    assert choose_candidates(events, best="front", costs=["parameters"]) == [0, 1, 2, 4, 5]
    assert choose_candidates(events, best=2, costs=["parameters"]) == [0, 1, 2]
    assert choose_candidates(events, best=3) == [0, 1, 2, 4]


def test_an_objective_of_every_level_asks_for_a_score_of_every_level(store: Store) -> None:
    levels = len(store.defocused_indices)

    def check(**search: Any) -> None:
        check_sides(store, Split([0], [1], [2]), StudyConfig(search=SearchConfig(**search)))

    for objective in ("penalized_ssim", "worst_psnr"):
        with pytest.raises(
            StudyError,
            match=f"would leave out 1 of the {levels} levels: take search.rung_images {levels}",
        ):
            check(objectives=[objective], rung_images=levels - 1)
        check(objectives=[objective], rung_images=levels)
        check(objectives=[objective], rung_images=1, scheduler="none")
    check(objectives=["ssim"], rung_images=1)
