from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from study.config import (
    ConfirmConfig,
    DatasetConfig,
    SearchConfig,
    SimulateConfig,
    SizesConfig,
    StudyConfig,
    TrainingConfig,
)
from study.data.splits import Split
from study.data.store import Store
from study.planning.costs import Costs, key_of
from study.planning.plan import count_fields, makespan
from study.trial.timing import Profile
from study.tune.budget import Work
from study.tune.tasks import search_job
from study.tune.trainable import Job


def test_fields_are_counted_from_names_or_from_what_will_be_simulated(raw_folder: Path) -> None:
    config = StudyConfig(dataset=DatasetConfig(root=str(raw_folder)))
    counts = count_fields(config)
    assert (counts.fields, counts.levels) == (10, 34)  # 5 wells of 2 fields
    assert [len(side) for side in counts.split.to_dict().values()] == [6, 2, 2]
    simulated = StudyConfig(
        dataset=DatasetConfig(simulate=SimulateConfig(wells=24), levels=[0, 16, 33])
    )
    assert (count_fields(simulated).fields, count_fields(simulated).levels) == (24, 3)


@pytest.mark.parametrize(
    ("durations", "places", "expected"),
    [([3, 3, 3], 1, 9), ([3, 3, 3], 3, 3), ([4, 3, 2, 1], 2, 5), ([1, 1, 4], 2, 5), ([], 2, 0)],
)
def test_jobs_begin_as_soon_as_a_place_is_free(
    durations: list[float], places: int, expected: float
) -> None:
    assert makespan(durations, places) == expected


def test_the_seconds_of_a_trial_are_those_of_its_parts(store: Store) -> None:
    config = StudyConfig(
        sizes=SizesConfig(whole=[32], split=64, patches=[32], evaluation=32),
        training=TrainingConfig(epochs=5, batch_size=8, patches_per_image=1),
        search=SearchConfig(scheduler="none"),
        confirm=ConfirmConfig(),
        scaled_down=True,
    )
    hyperparameters = {"family": "whole", "depth": 1, "filters": 4, "loss": "l1", "image_size": 32}
    job = search_job(config, store, Split([0, 1, 2], [3], []), 2, None, hyperparameters)
    profile = Profile(
        setup_s=2.0, step_s=0.1, rung_s=0.5, image_s=0.05, parameters=10, memory_bytes=1
    )
    costs = make_costs(config, {key_of(job): job}, {key_of(job): profile}, levels=5)
    assert costs.steps(job) == 2  # 3 fields at 4 defocused levels, in batches of 8
    expected = 2.0 + 5 * (2 * 0.1 + 0.5) + 5 * 0.05  # one field at 5 levels is scored
    assert costs.trial_s(job, Work(config, store)) == pytest.approx((expected, expected))
    assert costs.trial_s(job, Work(config, store), seconds=60)[0] == pytest.approx(
        2 + 60 + 5 * 0.05
    )
    asha = replace(config, search=SearchConfig(grace_epochs=1, reduction_factor=3, trials=40))
    stopped, whole = make_costs(asha, {key_of(job): job}, {key_of(job): profile}, levels=5).trial_s(
        job, Work(asha, store)
    )
    assert stopped < 0.7 * whole
    assert whole == pytest.approx(expected)


def test_a_network_that_was_not_measured_lies_between_those_that_were(store: Store) -> None:
    config = StudyConfig(
        sizes=SizesConfig(whole=[32], split=64, patches=[32], evaluation=32), scaled_down=True
    )

    def job(filters: int) -> Job:
        hyperparameters = {
            "family": "whole",
            "depth": 1,
            "filters": filters,
            "loss": "l1",
            "image_size": 32,
        }
        return search_job(config, store, Split([0], [3], []), filters, None, hyperparameters)

    jobs = {key_of(one): one for one in (job(4), job(64))}
    profiles = {
        key: Profile(1.0, step, 0.1, 0.01, 10, 1)
        for key, step in zip(jobs, (0.1, 1.0), strict=True)
    }
    costs = make_costs(config, jobs, profiles, levels=5)
    assert 0.1 < costs.profile(job(16)).step_s < 1.0
    assert costs.profile(job(8)).step_s < costs.profile(job(32)).step_s
    assert costs.profile(job(64)).step_s == 1.0


def make_costs(
    config: StudyConfig, jobs: dict[str, Job], profiles: dict[str, Profile], *, levels: int
) -> Costs:
    return Costs(
        config,
        jobs,
        profiles,
        levels=levels,
        raw_s=0,
        prepare_s=0,
        start_s=0,
        worker_s=0,
        reference_s=0,
        deconvolution_s=0,
        prepared=True,
        rooms=[(1, 1e12)],
    )
