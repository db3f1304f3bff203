from __future__ import annotations

import dataclasses
import json
import typing
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from study.config import (
    ConfirmConfig,
    DatasetConfig,
    ResourcesConfig,
    SearchConfig,
    SizesConfig,
    StudyConfig,
    TrainingConfig,
)
from study.errors import StudyError
from study.record.events import (
    KINDS,
    Event,
    StudyBegun,
    TransferReferenceScored,
    TrialBegun,
    from_values,
    to_values,
)
from study.record.identities import (
    Phase,
    Reference,
    ReferenceRole,
    RunId,
    TrialId,
)
from tests.study.record.made_up_events import (
    begun,
    confirm,
    ended,
    epoch,
    one_of_each_kind,
    reference,
    resumed,
    scored,
    search,
    study,
)

CONFIGS = [
    StudyConfig(),
    StudyConfig(
        name="other",
        scaled_down=True,
        dataset=DatasetConfig(root="/raw", levels=[0, 16], max_fields=4, test=0.25),
        sizes=SizesConfig(whole=[64, 32], crops=[16]),
        training=TrainingConfig(patches_per_image=2, precision="mixed_bfloat16"),
        search=SearchConfig(
            objectives=["penalized_ssim", "gflop"],
            level_weights={16: 2.0, 3: 0.5},
            initial_configurations=["unet"],
            max_tflop=1.5,
        ),
        confirm=ConfirmConfig(best="front", comparators=["earlier"], seconds=60.0),
        resources=ResourcesConfig(gpus_per_trial="auto"),
    ),
    StudyConfig(resources=ResourcesConfig(gpus_per_trial=0.5), confirm=ConfirmConfig(best=3)),
]
trial_ids = st.builds(TrialId, number=st.integers(0, 10**9)) | st.builds(
    TrialId, name=st.from_regex(r"[A-Za-z_][A-Za-z0-9_ -]{0,8}", fullmatch=True)
)
hyperparameters = st.dictionaries(
    st.text(max_size=8),
    st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    max_size=3,
)


def values_of(kind: type[Event]) -> st.SearchStrategy[Event]:
    """Draw events of a kind: every attribute of its type."""
    drawn: dict[str, st.SearchStrategy[Any]] = {}
    for name, hint in typing.get_type_hints(kind).items():
        if typing.get_origin(hint) is not typing.ClassVar and name != "row":
            drawn[name] = st.from_type(hint)
    if kind is TrialBegun:
        drawn["hyperparameters"] = hyperparameters
    return st.builds(kind, **drawn)


@pytest.fixture(autouse=True, scope="module")
def _strategies() -> None:
    st.register_type_strategy(TrialId, trial_ids)
    st.register_type_strategy(StudyConfig, st.sampled_from(CONFIGS))


def through_json(event: Event) -> Event:
    """What is read of an event that was written."""
    return from_values(json.loads(json.dumps(to_values(event), allow_nan=False)))


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize=True
)
@given(data=st.data())
def test_what_is_written_of_an_event_is_read_again(kind: type[Event], data: st.DataObject) -> None:
    event = data.draw(values_of(kind))
    # as text, where nan is like nan and 1 unlike 1.0
    assert repr(through_json(event)) == repr(event)


def test_every_kind_survives_with_the_values_that_studies_write() -> None:
    events = list(one_of_each_kind())
    assert {event.kind for event in events} == set(KINDS)
    for event in events:
        assert repr(through_json(event)) == repr(event)


def test_a_value_that_is_missing_is_named_unless_it_has_one_by_itself() -> None:
    for event in one_of_each_kind():
        written = to_values(event)
        for field in dataclasses.fields(event):
            kept = {name: value for name, value in written.items() if name != field.name}
            if field.default is not dataclasses.MISSING:
                assert getattr(from_values(kept), field.name) == field.default
            elif field.default_factory is not dataclasses.MISSING:
                assert getattr(from_values(kept), field.name) == field.default_factory()
            else:
                told = rf"'{event.kind}' does not hold what it should: {field.name}: .*required"
                with pytest.raises(StudyError, match=told):
                    from_values(kept)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"epoch": "third", "objective": None}, "epoch: .*'third'; objective: .*None"),
        ({"metrics": {"loss": "low"}}, r"metrics\.loss: .*valid number.*'low'"),
        ({"phase": "rehearsal"}, "phase: .*'search', 'confirm' or 'leak'.*'rehearsal'"),
        ({"trial": -1}, "trial: .*a number from 0.*got -1"),
        ({"trial": 1.5}, "trial: .*a number from 0.*got 1.5"),
        ({"trial": None}, "trial: .*a number from 0"),
        ({"trial": "../../elsewhere"}, "trial: .*begins with a letter"),
    ],
)
def test_every_value_that_is_wrong_is_named_with_what_came(
    change: dict[str, Any], told: str
) -> None:
    with pytest.raises(StudyError, match=f"'epoch' does not hold what it should: {told}"):
        from_values(to_values(epoch(search(0), 1)) | change)


def test_an_unknown_kind_is_refused() -> None:
    with pytest.raises(StudyError, match="unknown event None; known are study, resumed"):
        from_values({})
    with pytest.raises(StudyError, match=r"unknown event 'holiday'; known are .*trial_end"):
        from_values({"event": "holiday"})


def test_the_row_is_where_an_event_was_read_and_is_not_written() -> None:
    values = to_values(epoch(search(0), 1))
    assert "row" not in values
    assert from_values(values, row=7).row == 7
    assert from_values(values, row=7) == from_values(values, row=8)


def test_keys_tell_events_apart_that_must_not_replace_each_other() -> None:
    different = [
        study(),
        *(epoch(search(0), 1), epoch(search(0), 2), epoch(search(1), 1)),
        *(epoch(confirm(0), 1), epoch(confirm(0, 1), 1)),
        *(begun(search(0)), begun(confirm(0)), begun(confirm("earlier"))),
        *(scored(search(0)), ended(search(0)), reference()),
        TransferReferenceScored(**vars(reference())),
        *(resumed(1), resumed(2)),
    ]
    assert len({event.key for event in different}) == len(different)
    assert epoch(search(0), 1, 0.5).key == epoch(search(0), 1, 0.7, loss=3.0).key
    assert study("a").key == study("b").key


def test_a_trial_is_a_number_or_a_name() -> None:
    assert TrialId.parse("7") == TrialId.parse(7) == TrialId(7)
    assert TrialId.parse("residual_unet") == TrialId(name="residual_unet")
    assert (TrialId(7).file_name, TrialId(name="earlier").file_name) == ("0007", "earlier")
    ordered = [TrialId(2), TrialId(10), TrialId(name="earlier"), TrialId(name="residual_unet")]
    assert sorted([ordered[2], ordered[1], ordered[3], ordered[0]]) == ordered
    for wrong in ({}, {"number": 1, "name": "x"}, {"number": -1}, {"name": "a/b"}, {"name": "7"}):
        with pytest.raises(ValueError, match="a trial has either"):
            TrialId(**wrong)


def test_labels_say_what_a_run_and_a_reference_are() -> None:
    run = RunId(Phase.CONFIRM, TrialId(7), 2)
    assert (run.file_name, str(run)) == ("confirm-0007-2", "confirm 7 2")
    labels = {
        Reference(ReferenceRole.UNRESTORED_INPUT, "test"): "unrestored input (test)",
        Reference(ReferenceRole.UNRESTORED_INPUT, "test", size=192): (
            "unrestored input at 192 px (test)"
        ),
        Reference(ReferenceRole.AFFINE_FIT, "validation"): (
            "unrestored input, best affine fit (validation)"
        ),
        Reference(ReferenceRole.UPPER_BOUND, "test", size=64): "upper bound at 64 px (test)",
        Reference(ReferenceRole.MEAN_SCALE, "test"): "right shape, mean scale (test)",
        Reference(ReferenceRole.MEAN_SCALE, "test", size=64): (
            "right shape, mean scale at 64 px (test)"
        ),
        Reference(ReferenceRole.DECONVOLUTION, "test", name="Wiener", fields=2): (
            "Wiener, true blur, 2 fields (test)"
        ),
        Reference(ReferenceRole.PAPER, "paper", name="whole"): "paper: whole image",
    }
    assert {reference.label for reference in labels} == set(labels.values())
    assert [reference.label for reference in labels] == list(labels.values())
    curves = [reference.is_curve for reference in labels]
    assert curves == [True, False, True, False, True, False, True, True]


def test_a_study_says_its_format() -> None:
    assert to_values(study())["format"] == StudyBegun.format == 3
