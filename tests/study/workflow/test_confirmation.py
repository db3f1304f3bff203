"""What is confirmed, and how: on all but the test set, over replicates, scored on the test set."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from search_spaces.comparators import RESIDUAL_UNET
from study.config import (
    ConfirmConfig,
    DatasetConfig,
    SearchConfig,
    SizesConfig,
    StudyConfig,
    derive_seed,
)
from study.data.splits import Split
from study.errors import StudyError
from study.models.autoencoder import count_training_operations
from study.record.events import StepTimed
from study.record.history import History
from study.record.identities import Phase, Role, TrialId
from study.trial.steps import steps_of_epoch
from study.tune.tasks import Configuration, search_job
from study.tune.trainable import Job
from study.workflow.confirmation import (
    Budget,
    budgets_in_steps,
    configurations_to_confirm,
    confirm_jobs,
    leak_jobs,
)
from tests.study.record.made_up_events import begun, finished, search, study, write_events

POINT = {"family": "whole", "image_size": 128}
CONFIGURATIONS = [
    Configuration(TrialId(0), "a", Role.BASELINE, POINT),
    Configuration(TrialId(3), "b", Role.SEARCHED, POINT),
]
UNET = {
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
SPLIT = Split(train=[4, 1], validation=[2], test=[0, 3])
STORE: Any = SimpleNamespace(
    folder="store",
    fields=list("abcde"),
    wells=list("abcde"),
    levels=[0, 16, 33],
    defocused_indices=[0, 2],
)


def test_confirmation_trains_on_all_but_the_test_set_with_a_seed_for_each_replicate() -> None:
    budgets = {TrialId(3): Budget(7, 7)}
    jobs = confirm_jobs(StudyConfig(name="x"), CONFIGURATIONS, SPLIT, STORE, budgets=budgets)
    assert [job.task.epochs for job in jobs] == [50, 50, 50, 7, 7, 7]
    assert [job.task.steps for job in jobs] == [None] * 3 + [7] * 3
    runs = [(job.run.phase, job.run.trial.value, job.run.replicate) for job in jobs]
    assert runs == [(Phase.CONFIRM, trial, seed) for trial in (0, 3) for seed in (0, 1, 2)]
    assert all(
        job.task.train_fields == [1, 2, 4]
        and job.task.eval_fields == [0, 3]
        and job.task.eval_split == "test"
        for job in jobs
    )
    assert len({job.task.seed for job in jobs}) == 6
    assert len({job.task.folder for job in jobs}) == 6


@pytest.mark.parametrize("seconds", [1, 7.4, 50, 3_384])
def test_a_budget_in_seconds_is_kept_to_the_step(seconds: float) -> None:
    """To whole epochs, 300 s of a network with long ones became 3,384 s."""
    trial, step_s, an_epoch = TrialId(0), 0.47, 7_200  # an hour an epoch
    timed = StepTimed(trial=trial, seconds_per_step=step_s, steps_per_epoch=an_epoch)
    config = StudyConfig(name="x", confirm=ConfirmConfig(seconds=seconds))
    budget = budgets_in_steps(config, {trial: timed})[trial]
    assert budget.steps is not None
    assert budget.steps * step_s == pytest.approx(seconds, rel=0.02, abs=step_s / 2)
    assert budget.epochs == -(-budget.steps // an_epoch)
    job = confirm_jobs(config, CONFIGURATIONS, SPLIT, STORE, budgets={trial: budget})[0]
    assert job.task.steps == budget.steps  # in as many epochs as these few images need


def test_a_budget_in_steps_is_the_same_for_all_however_long_their_epochs_are() -> None:
    config = StudyConfig(name="x", confirm=ConfirmConfig(steps=100))
    jobs = confirm_jobs(config, CONFIGURATIONS, SPLIT, STORE, budgets={})
    assert {job.task.steps for job in jobs} == {100}
    # three fields at two levels in batches of 16 are one step
    assert {job.task.epochs for job in jobs} == {100}


def test_what_a_search_may_spend_on_a_configuration_its_confirmation_may_too() -> None:
    """A network that was shortened in the search was trained in full when it was confirmed."""
    unet = {**UNET, "batch_size": 2}
    step_tflop = count_training_operations(unet, patches=2) / 1e12
    config = StudyConfig(
        name="x", search=SearchConfig(space="beyond", grace_epochs=3, max_tflop=20.5 * step_tflop)
    )
    searched = Configuration(TrialId(3), "b", Role.SEARCHED, unet)
    [*_, confirmed] = confirm_jobs(config, [searched], SPLIT, STORE, budgets={})
    assert confirmed.task.steps == 20
    assert search_job(config, STORE, SPLIT, searched).task.steps == 20
    # a baseline with the winner's training is there to be compared with it
    tuned = Configuration(TrialId(name="tuned_whole-0003"), "t", Role.COMPARATOR, unet)
    assert confirm_jobs(config, [tuned], SPLIT, STORE, budgets={})[0].task.steps == 20
    baseline = Configuration(TrialId(0), "a", Role.BASELINE, unet)
    assert confirm_jobs(config, [baseline], SPLIT, STORE, budgets={})[0].task.steps is None


def test_a_network_too_large_for_the_first_rung_is_judged_there_all_the_same() -> None:
    unet = {**UNET, "batch_size": 1}
    step_tflop = count_training_operations(unet, patches=1) / 1e12
    config = StudyConfig(
        name="x", search=SearchConfig(space="beyond", grace_epochs=3, max_tflop=3 * step_tflop)
    )
    task = search_job(
        config, STORE, SPLIT, Configuration(TrialId(3), "b", Role.SEARCHED, unet)
    ).task
    # two fields at two levels are four steps an epoch: the budget would end in the first
    assert (task.epochs, task.steps) == (3, 3)
    assert [steps_of_epoch(task, STORE, epoch) for epoch in range(3)] == [1, 1, 1]


def test_other_splits_are_trained_and_tested_apart() -> None:
    config = StudyConfig(name="x", confirm=ConfirmConfig(replicates=2, splits=3))
    jobs = confirm_jobs(config, CONFIGURATIONS[:1], SPLIT, STORE, budgets={})
    assert [job.run.replicate for job in jobs] == [0, 1, 2, 3, 4, 5]
    assert jobs[0].task.eval_fields == jobs[1].task.eval_fields == SPLIT.test

    def tested(job: Job) -> tuple[int, ...]:
        task = job.task
        assert sorted([*task.train_fields, *task.eval_fields]) == [0, 1, 2, 3, 4]
        return tuple(task.eval_fields)

    assert len({tested(job) for job in jobs}) > 1
    assert tested(jobs[2]) == tested(jobs[3])
    leaking = leak_jobs(config, CONFIGURATIONS[:1], SPLIT, STORE, budgets={})
    assert [job.run.replicate for job in leaking] == [0, 1]


def test_a_baseline_is_confirmed_with_the_winners_training_too() -> None:
    """So that a gain can be ascribed to the network or to its training."""
    config = StudyConfig(
        name="x",
        search=SearchConfig(space="beyond"),
        confirm=ConfirmConfig(comparators=["tuned_whole", "tuned_split"]),
    )
    winner = {**UNET, "loss": "l2", "ema": True, "learning_rate": 2e-3, "batch_size": 8}
    events = [
        study(),
        begun(search(7), Role.SEARCHED, label="trial 0007", hyperparameters=winner),
    ]
    history = History([*events, *finished(search(7), 0.7)])
    whole, split = configurations_to_confirm(config, history)[1:]
    training = {"loss": "l2", "ema": True, "learning_rate": 2e-3, "batch_size": 8}
    assert whole.hyperparameters == {
        "family": "whole",
        "depth": 2,
        "filters": 32,
        "growth": 2,
        "image_size": 128,
        "crop_size": 64,
        **training,
    }
    assert split.hyperparameters == {
        "family": "split",
        "depth": 3,
        "filters": 64,
        "growth": 1,
        "image_size": 768,
        "patch_size": 128,
        **training,
    }
    assert whole.role == Role.COMPARATOR
    assert whole.label.endswith(", trained as trial 0007")
    # an extended search has another winner: another configuration, with another name
    later = [begun(search(9), Role.SEARCHED, label="trial 0009", hyperparameters=winner)]
    extended = History([*history.events, *later, *finished(search(9), 0.8)])
    another = configurations_to_confirm(config, extended)[1]
    assert another.trial != whole.trial
    assert another.label.endswith(", trained as trial 0009")
    assert configurations_to_confirm(config, History([study()])) == []


def test_the_leak_has_the_seeds_and_epochs_of_the_confirmation_and_sees_every_field() -> None:
    budgets = {TrialId(0): Budget(5), TrialId(3): Budget(7, 7)}
    config = StudyConfig(name="x")
    jobs = confirm_jobs(config, CONFIGURATIONS, SPLIT, STORE, budgets=budgets)
    leaking = leak_jobs(config, CONFIGURATIONS, SPLIT, STORE, budgets=budgets)
    assert [job.task.epochs for job in leaking] == [5] * 3 + [7] * 3
    assert [job.task.steps for job in leaking] == [None] * 3 + [7] * 3
    assert [job.task.seed for job in leaking] == [job.task.seed for job in jobs]
    assert all(
        job.task.train_fields == [0, 1, 2, 3, 4] and job.task.eval_fields == [0, 3]
        for job in leaking
    )
    assert len({str(job.task.held_out) for job in leaking}) == 1
    assert leaking[0].task.held_out is not None


def test_the_papers_split_trains_and_scores_every_field() -> None:
    config = StudyConfig(name="x", dataset=DatasetConfig(split="within_levels"))
    jobs = confirm_jobs(config, CONFIGURATIONS, SPLIT, STORE, budgets={})
    assert all(job.task.train_fields == job.task.eval_fields == [0, 1, 2, 3, 4] for job in jobs)


def _searched(tmp_path: Path, *, image_size: int) -> Path:
    """An earlier study whose winner sees images of some size."""
    one, two = search(2), search(3)
    events = [
        study("earlier"),
        begun(one, Role.SEARCHED, hyperparameters={"family": "whole", "image_size": 64}),
        *finished(one, 0.5),
        begun(two, Role.SEARCHED, hyperparameters={"family": "whole", "image_size": image_size}),
        *finished(two, 0.9),
    ]
    return write_events(tmp_path / "earlier", events)


def test_comparators_are_confirmed_beside_the_baselines_and_the_best(tmp_path: Path) -> None:
    folder = _searched(tmp_path, image_size=128)
    config = StudyConfig(
        name="x",
        sizes=SizesConfig(crops=[64]),
        search=SearchConfig(space="beyond", warm_start=str(folder)),
        confirm=ConfirmConfig(comparators=["residual_unet", "earlier"], replicates=2),
    )
    baseline, best = search(0), search(2)
    history = History(
        [
            study(),
            begun(baseline, Role.BASELINE, label="whole"),
            *finished(baseline, 0.4),
            begun(best, Role.SEARCHED, label="trial 0002"),
            *finished(best, 0.7),
        ]
    )
    chosen = configurations_to_confirm(config, history)
    assert [(str(one.trial), one.role, one.label) for one in chosen] == [
        ("0", Role.BASELINE, "whole"),
        ("2", Role.SEARCHED, "trial 0002"),
        ("residual_unet", Role.COMPARATOR, RESIDUAL_UNET),
        ("earlier", Role.COMPARATOR, "winner of earlier"),
    ]
    assert chosen[3].hyperparameters == {"family": "whole", "image_size": 128}
    jobs = confirm_jobs(config, chosen, SPLIT, STORE, budgets={})
    assert len(jobs) == 8
    assert jobs[-1].task.seed == derive_seed(config.seed, "confirm", "earlier", 1)
    assert Path(jobs[-1].task.folder).name == "confirm-earlier-1"


def test_a_comparator_of_another_size_is_refused(tmp_path: Path) -> None:
    config = StudyConfig(
        name="x",
        search=SearchConfig(warm_start=str(_searched(tmp_path, image_size=256))),
        confirm=ConfirmConfig(comparators=["earlier"]),
    )
    with pytest.raises(StudyError, match=r"winner of earlier sees images of 256 px.*\[128, 768\]"):
        configurations_to_confirm(config, History([study()]))
