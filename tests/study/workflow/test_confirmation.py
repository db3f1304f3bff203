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
from study.record.history import History
from study.record.identities import Phase, Role, TrialId
from study.tune.tasks import Configuration
from study.workflow.confirmation import configurations_to_confirm, confirm_jobs, leak_jobs
from tests.study.record.made_up_events import begun, finished, search, study, write_events

POINT = {"family": "whole", "image_size": 128}
CONFIGURATIONS = [
    Configuration(TrialId(0), "a", Role.BASELINE, POINT),
    Configuration(TrialId(3), "b", Role.SEARCHED, POINT),
]
SPLIT = Split(train=[4, 1], validation=[2], test=[0, 3])
STORE: Any = SimpleNamespace(folder="store", fields=list("abcde"), levels=[0, 16, 33])


def test_confirmation_trains_on_all_but_the_test_set_with_a_seed_for_each_replicate() -> None:
    jobs = confirm_jobs(StudyConfig(name="x"), CONFIGURATIONS, SPLIT, STORE, epochs={TrialId(3): 7})
    assert [job.task.epochs for job in jobs] == [50, 50, 50, 7, 7, 7]
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


def test_the_leak_has_the_seeds_and_epochs_of_the_confirmation_and_sees_every_field() -> None:
    epochs = {TrialId(0): 5, TrialId(3): 7}
    config = StudyConfig(name="x")
    jobs = confirm_jobs(config, CONFIGURATIONS, SPLIT, STORE, epochs=epochs)
    leaking = leak_jobs(config, CONFIGURATIONS, SPLIT, STORE, epochs=epochs)
    assert [job.task.epochs for job in leaking] == [5] * 3 + [7] * 3
    assert [job.task.seed for job in leaking] == [job.task.seed for job in jobs]
    assert all(
        job.task.train_fields == [0, 1, 2, 3, 4] and job.task.eval_fields == [0, 3]
        for job in leaking
    )
    assert len({str(job.task.held_out) for job in leaking}) == 1
    assert leaking[0].task.held_out is not None


def test_the_papers_split_trains_and_scores_every_field() -> None:
    config = StudyConfig(name="x", dataset=DatasetConfig(split="within_levels"))
    jobs = confirm_jobs(config, CONFIGURATIONS, SPLIT, STORE, epochs={})
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
    jobs = confirm_jobs(config, chosen, SPLIT, STORE, epochs={})
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
