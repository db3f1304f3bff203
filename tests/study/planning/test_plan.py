from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from search_spaces.baselines import SPLIT_IMAGE, WHOLE_IMAGE
from search_spaces.comparators import RESIDUAL_UNET
from study.config import (
    ConfirmConfig,
    DatasetConfig,
    EvaluationConfig,
    SearchConfig,
    SimulateConfig,
    SizesConfig,
    StudyConfig,
    TrainingConfig,
    TransferConfig,
)
from study.data.splits import Split
from study.data.store import Store
from study.planning.costs import Measurements, Network, choose_networks, key_of
from study.planning.estimates import REPORT_S, Estimate, TrialTime, makespan
from study.planning.expected import ExpectedStudy, expect_study
from study.planning.fits import Cluster, disk_bytes, misfits
from study.planning.sample import Counts, Sample, count_images
from study.planning.text import describe_plan
from study.record.identities import Role, TrialId
from study.trial.steps import steps_an_epoch
from study.trial.timing import Profile
from study.tune.tasks import search_job, searched_configuration
from study.tune.trainable import Job
from study.workflow.stages import Stage, stages_of

Expect = Callable[..., ExpectedStudy]
SPLIT = Split(train=[0, 1, 2, 3, 4, 5], validation=[6, 7], test=[8, 9])  # of the store's fields
SIZES = SizesConfig(whole=[32], split=64, patches=[32])
WHOLE = {"family": "whole", "depth": 1, "filters": 4, "loss": "l1", "image_size": 32}
PROFILE = Profile(
    setup_s=2.0, step_s=0.1, rung_s=0.5, image_s=0.05, parameters=10, memory_bytes=2**30
)


@pytest.fixture
def config(tmp_path: Path) -> StudyConfig:
    """A small study: 5 epochs of batches of 8, three searched trials, two seeds."""
    return StudyConfig(
        name="planned",
        storage=str(tmp_path),
        scaled_down=True,
        dataset=DatasetConfig(simulate=SimulateConfig(wells=10)),
        sizes=SIZES,
        training=TrainingConfig(epochs=5, batch_size=8, patches_per_image=1),
        search=SearchConfig(trials=3, scheduler="none"),
        confirm=ConfirmConfig(best=1, replicates=2),
        evaluation=EvaluationConfig(resolution=32),
    )


@pytest.fixture
def expect(store: Store, tmp_path: Path) -> Expect:
    """Return what a configuration is expected to run on the fields of the store."""

    def make(config: StudyConfig, *, transfer_images: int = 0) -> ExpectedStudy:
        sample = Sample(store, raw_s=1.0, prepare_s=2.0)
        return expect_study(
            config, Counts(SPLIT, 5, transfer_images, list(map(str, SPLIT.every))), sample, tmp_path
        )

    return make


def test_other_splits_are_planned_with_the_studys_wells_not_the_samples(
    config: StudyConfig, expect: Expect
) -> None:
    """Of the sample's two fields one would be trained on."""
    confirm = replace(config.confirm, splits=3)
    study = expect(replace(config, confirm=confirm))
    sides = {
        job.run.replicate: (len(job.task.train_fields), len(job.task.eval_fields))
        for job in study.confirmed
    }
    everything = len(SPLIT.every)
    tested = round(config.dataset.test * everything)
    assert [sides[replicate] for replicate in (2, 5)] == [(everything - tested, tested)] * 2


def make_measurements(networks: Sequence[tuple[Job, Profile]]) -> Measurements:
    return Measurements(
        {key_of(job): Network(job.label, job, profile) for job, profile in networks},
        raw_s=1.0,
        prepare_s=2.0,
        reference_s=0.25,
        deconvolution_s=100.0,
        tuning_s=200.0,
        start_s=9.0,
        worker_s=4.0,
    )


def estimate(study: ExpectedStudy, *, places: int = 1) -> Estimate:
    """Every network takes the same."""
    return Estimate(study, make_measurements([(job, PROFILE) for job in study.jobs]), places)


def whole_image_job(config: StudyConfig, store: Store, *, filters: int = 4) -> Job:
    configuration = searched_configuration(2, WHOLE | {"filters": filters})
    return search_job(config, store, Split([0, 1, 2], [3], []), configuration)


def test_images_are_counted_from_names_or_from_what_will_be_simulated(raw_folder: Path) -> None:
    config = StudyConfig(dataset=DatasetConfig(root=str(raw_folder)))
    counts = count_images(config, print)
    assert (counts.fields, counts.levels) == (10, 34)  # 5 wells of 2 fields
    assert [len(side) for side in counts.split.to_dict().values()] == [6, 2, 2]
    assert counts.transfer_images == 0
    simulated = StudyConfig(
        dataset=DatasetConfig(simulate=SimulateConfig(wells=24), levels=[0, 16, 33]),
        transfer=TransferConfig(
            kind="bbbc006", root=str(raw_folder), levels=[16, 20], max_fields=3
        ),
    )
    counts = count_images(simulated, print)
    assert (counts.fields, counts.levels, counts.transfer_images) == (24, 3, 6)


@pytest.mark.parametrize(
    ("durations", "places", "expected"),
    [([3, 3, 3], 1, 9), ([3, 3, 3], 3, 3), ([4, 3, 2, 1], 2, 5), ([1, 1, 4], 2, 5), ([], 2, 0)],
)
def test_jobs_begin_as_soon_as_a_place_is_free(
    durations: list[float], places: int, expected: float
) -> None:
    assert makespan(durations, places) == expected


def test_the_seconds_of_a_trial_are_those_of_its_parts(
    config: StudyConfig, store: Store, expect: Expect
) -> None:
    study, job = expect(config), whole_image_job(config, store)
    measured = make_measurements([(job, PROFILE)])
    planned = Estimate(study, measured, 1)
    assert planned.steps(job) == 2  # 3 fields at 4 defocused levels, in batches of 8
    expected = 2.0 + 5 * (2 * 0.1 + 0.5) + 5 * 0.05  # one field at 5 levels is scored
    assert planned.trial(job) == pytest.approx((expected, expected))
    asha = replace(config, search=SearchConfig(grace_epochs=1, reduction_factor=3, trials=40))
    stopped, whole = Estimate(replace(study, config=asha), measured, 1).trial(job)
    assert stopped < 0.7 * whole
    assert whole == pytest.approx(expected)


def test_a_budget_in_seconds_is_what_a_confirmed_trial_takes(
    config: StudyConfig, expect: Expect
) -> None:
    study = expect(replace(config, confirm=replace(config.confirm, seconds=60)))
    took = 2 + 60 + 2 * 5 * 0.05  # two fields at 5 levels are scored
    assert estimate(study).trial(study.confirmed[0]) == pytest.approx(TrialTime(took, took))


def test_a_network_that_was_not_measured_lies_between_those_that_were(
    config: StudyConfig, store: Store
) -> None:
    jobs = {
        filters: whole_image_job(config, store, filters=filters) for filters in (4, 8, 16, 32, 64)
    }
    costs = make_measurements(
        [(jobs[4], replace(PROFILE, step_s=0.1)), (jobs[64], replace(PROFILE, step_s=1.0))]
    )
    assert 0.1 < costs.profile(jobs[16]).step_s < 1.0
    assert costs.profile(jobs[8]).step_s < costs.profile(jobs[32]).step_s
    assert costs.profile(jobs[64]).step_s == 1.0


def test_every_stage_that_a_study_has_is_estimated_in_its_order(
    config: StudyConfig, expect: Expect
) -> None:
    whole = replace(
        config,
        confirm=ConfirmConfig(best=1, replicates=2, seconds=60, leak=True),
        evaluation=EvaluationConfig(resolution=32, deconvolved_fields=0),
    )
    study = expect(whole, transfer_images=7)
    parts = estimate(study).parts
    assert list(parts) == ["the images", "starting", *map(str, Stage), "the report"]
    trial = 2 + 60 + 2 * 5 * 0.05
    assert parts == pytest.approx(
        {
            "the images": 10 * (1 + 2),
            "starting": 9,
            "the references": (2 + 2) * 0.25,  # of validation and of test
            # two baselines and three trials: 3 batches of 24 images, 10 images scored
            "the search": 5 * (2 + 5 * (3 * 0.1 + 0.5) + 10 * 0.05) + 4,
            # three rounds of three configurations; an epoch has 4 batches of 32 images
            "timing steps": 3 * 3 * (2 + 4 * 0.1),
            "the confirmation": 3 * 2 * trial + 4,
            # the split-image network's stitching, at three levels, twice; every network's transfer
            "the post-hoc evaluation": 2 * (2 * 2 * 3 * 0.05) + 6 * 7 * 0.05,
            "the leak": 2 * (2 + 60) + scored_levels(study) * 0.05 + 4,
            "the report": REPORT_S,
        }
    )


def test_deconvolutions_are_tuned_and_scored_side_by_side(
    config: StudyConfig, expect: Expect
) -> None:
    asked = replace(config, evaluation=EvaluationConfig(resolution=32, deconvolved_fields=9))
    parts = [estimate(expect(asked), places=places).parts["the references"] for places in (1, 2)]
    # two fields of validation and two of test
    assert parts == pytest.approx([1 + 2 * 100 + 2 * 200, 1 + 100 + 200])


def scored_levels(study: ExpectedStudy) -> int:
    return sum(
        len(levels)
        for job in study.leaking
        for field, levels in enumerate(job.task.held_out or [])
        if field in SPLIT.test
    )


def test_what_a_study_does_not_ask_for_is_not_estimated(
    config: StudyConfig, expect: Expect
) -> None:
    bare = replace(config, search=SearchConfig(space="none"))
    assert stages_of(bare) == [Stage.REFERENCES, Stage.CONFIRMATION, Stage.POST_HOC]
    parts = estimate(expect(bare)).parts
    assert list(parts)[2:-1] == ["the references", "the confirmation", "the post-hoc evaluation"]
    assert parts["the references"] == pytest.approx(2 * 0.25)


def test_the_paper_s_own_split_trains_and_scores_every_field(
    config: StudyConfig, expect: Expect, store: Store
) -> None:
    literal = replace(
        config,
        dataset=replace(config.dataset, split="within_levels", test=0.2, validation=0),
        search=SearchConfig(space="none"),
    )
    study = expect(literal)
    # of ten fields two are held out at each of the five levels
    assert {study.scored_images(job) for job in study.confirmed} == {5 * 2}
    assert {steps_an_epoch(job.task, store) for job in study.confirmed} == {4 * 8 // 8}
    assert "the post-hoc evaluation" not in estimate(study).parts


def test_winners_are_expected_to_be_of_middling_cost(config: StudyConfig, expect: Expect) -> None:
    confirm = ConfirmConfig(best=2, replicates=1, comparators=["residual_unet"])
    study = expect(replace(config, confirm=confirm))
    assert [job.label for job in study.confirmed] == [
        WHOLE_IMAGE,
        SPLIT_IMAGE,
        "expected winner 1",
        "expected winner 2",
        RESIDUAL_UNET,
    ]
    winners = [job for job in study.confirmed if job.role == Role.SEARCHED]
    assert [job.run.trial for job in winners] == [
        TrialId(name="expected winner 1"),
        TrialId(name="expected winner 2"),
    ]
    titles = dict(choose_networks(study).values())
    assert list(titles) == [
        WHOLE_IMAGE,
        SPLIT_IMAGE,
        RESIDUAL_UNET,
        "smallest searched",
        "median searched",
        "largest searched",
    ]
    assert {key_of(job) for job in winners} == {key_of(titles["median searched"])}


@pytest.mark.parametrize(("best", "trials", "winners"), [(1, 3, 1), (9, 3, 3), ("front", 8, 5)])
def test_as_many_winners_are_expected_as_will_be_confirmed(
    best: int | str, trials: int, winners: int, config: StudyConfig, expect: Expect
) -> None:
    search = replace(config.search, trials=trials, objectives=["ssim", "parameters"])
    study = expect(replace(config, search=search, confirm=ConfirmConfig(best=best, replicates=1)))
    assert len([job for job in study.searched if job.role == Role.SEARCHED]) == trials
    assert len([job for job in study.confirmed if job.role == Role.SEARCHED]) == winners


def test_a_task_asks_the_sample_for_as_many_images(
    config: StudyConfig, expect: Expect, store: Store
) -> None:
    study, sample = expect(config), Sample(store, 0.0, 0.0)
    for job in (study.searched[0], study.confirmed[0]):
        asked = sample.ask(job.task)
        assert set(asked.train_fields) == {0}
        assert set(asked.eval_fields) == {1}
        assert len(asked.eval_fields) == len(job.task.eval_fields)
        assert steps_an_epoch(asked, store) == steps_an_epoch(job.task, store)


def test_every_lack_is_named(config: StudyConfig, expect: Expect) -> None:
    study = expect(config)
    measured = make_measurements([(job, PROFILE) for job in study.jobs])
    roomy = Cluster([(2, 2.0 * 2**30)], {"near": 2**40})
    assert list(misfits(study, measured, roomy)) == []
    tight = Cluster([(2, 2.0 * 2**30), (3, 2.0 * 2**30)], {"near": 2**40, "far": 1000})
    copy, memory = misfits(study, measured, tight)
    assert copy.startswith("the copy of the images on node far needs")
    assert memory.startswith("3 trials on a node need 3.0 GiB of memory, it has 2.0 GiB for them")
    immense = replace(study, counts=replace(study.counts, levels=10**15))
    disk, *_ = misfits(immense, measured, roomy)
    assert disk.startswith("it needs ")
    assert str(Path(config.storage).resolve()) in disk
    assert disk_bytes(replace(immense, prepared=True), measured) < 2**30


def test_a_plan_says_what_runs_what_it_takes_and_whether_it_fits(
    config: StudyConfig, expect: Expect
) -> None:
    study = expect(replace(config, search=SearchConfig(trials=6)))
    planned = estimate(study, places=2)
    lines = describe_plan(planned, Cluster([(2, 2.0**40)]), [])
    text = "\n".join(lines)
    assert "10 fields at 5 levels: 6 train, 2 validation, 2 test" in lines[0]
    assert "6 trials and 2 baselines; of the trials' 30 epochs asha is expected to leave" in text
    assert "confirmation  3 configurations, 2 seeds each, 5 epochs" in text
    assert "2 trials at once; no GPU; " in text
    assert planned.unstopped_s > planned.seconds == pytest.approx(sum(planned.parts.values()))
    assert text.endswith(
        "memory        1.0 GiB for the largest trial, 2.0 GiB for 2 on a node\nfits          yes"
    )
    shared = replace(config, resources=replace(config.resources, gpus_per_trial=0.5))
    on_gpus = estimate(replace(study, config=shared))
    trial_s = sum(on_gpus.trial(job).expected_s for job in study.jobs)
    assert on_gpus.gpu_hours == pytest.approx(0.5 * trial_s / 3600)
    assert "fits          no: a; b" in describe_plan(on_gpus, Cluster([(1, 1.0)]), ["a", "b"])
