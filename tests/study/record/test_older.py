"""A ledger of format 2: most of it was left by a study that a version of that format ran (lists
shortened), the rest was written by that version's ledger.
"""

from __future__ import annotations

import json
import math
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from study.config import StudyConfig
from study.errors import StudyError
from study.record.events import KINDS, EpochEnded, TransferScored
from study.record.facts import StoreFacts
from study.record.history import History
from study.record.identities import Phase, Reference, ReferenceRole, Role, RunId, TrialId
from study.record.ledger import FILE_NAME, Ledger, read_events, read_history
from tests.study.record.made_up_events import begun, confirm, epoch, resumed

OLD = Path(__file__).with_name("ledger_format_2.jsonl")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    shutil.copy(OLD, tmp_path / FILE_NAME)
    return tmp_path


@pytest.fixture
def history(folder: Path) -> History:
    return read_history(folder)


def lines() -> list[dict[str, Any]]:
    return [json.loads(line) for line in OLD.read_text(encoding="utf-8").splitlines()]


def test_every_line_is_an_event_of_its_kind_with_its_time_and_row(folder: Path) -> None:
    events = read_events(folder)
    assert [event.kind for event in events] == [line["event"] for line in lines()]
    assert [event.time for event in events] == [line["time"] for line in lines()]
    assert [event.row for event in events] == list(range(1, len(events) + 1))
    assert {event.kind for event in events} == set(KINDS)  # nothing of any kind is left out


def test_the_configuration_has_todays_keys(history: History) -> None:
    begun_with = history.study.config
    assert begun_with.evaluation.resolution == 64  # was sizes.common
    assert begun_with.search.trials == 6
    config = history.config  # that of the resumption
    assert config.search.objectives == ["penalized_ssim", "gflop"]  # was harmless_ssim
    assert config.search.initial_configurations == ["unet", "robust"]  # was search.first
    assert config.confirm.comparators == ["residual_unet", "earlier"]  # was confirm.marks: unet
    assert config.search.level_weights == {16: 2.0}
    assert config.search.searcher == "evolution"  # which this version does not have


def test_the_images_have_their_resolutions_and_the_levels_symbol(history: History) -> None:
    assert history.study.store.resolutions == ["antialiased_192", "antialiased_64"]  # was grids
    assert history.study.images.level_symbol == "z"
    assert history.transfer_set is not None
    assert isinstance(history.transfer_set.store, StoreFacts)
    assert history.transfer_set.images.level_symbol == "F"


def test_configurations_have_roles_and_comparators_their_names(history: History) -> None:
    roles = {(str(run.id.phase), str(run.trial)): run.role for run in history.runs.values()}
    assert roles == {
        ("search", "0"): Role.BASELINE,
        ("search", "2"): Role.SEARCHED,
        ("search", "3"): Role.SEARCHED,
        ("search", "6"): Role.SEARCHED,
        ("confirm", "1"): Role.BASELINE,
        ("confirm", "residual_unet"): Role.COMPARATOR,  # was 9001
        ("confirm", "earlier"): Role.COMPARATOR,  # was 9002
    }
    assert list(history.timings) == [TrialId(name="residual_unet"), TrialId(name="earlier")]
    last = history.openings[-1]
    assert list(map(str, last.candidates)) == ["0", "1", "residual_unet", "earlier"]
    held = history.runs[confirm("residual_unet", 1)]
    assert (held.label, held.finished) == ("residual U-Net", True)


def test_the_family_free_is_unet(history: History) -> None:
    unet = history.runs[RunId(Phase.SEARCH, TrialId(6), 0)].hyperparameters
    assert (unet["family"], unet["unet_filters"], unet["depth"]) == ("unet", 16, 2)
    assert "width" not in unet
    whole = history.runs[RunId(Phase.SEARCH, TrialId(0), 0)].hyperparameters
    assert (whole["family"], whole["filters"]) == ("whole", 32)


def test_references_are_what_their_labels_said(history: History) -> None:
    unrestored, bound = ReferenceRole.UNRESTORED_INPUT, ReferenceRole.UPPER_BOUND
    assert list(history.references) == [
        Reference(ReferenceRole.PAPER, "paper", name="whole"),
        Reference(ReferenceRole.PAPER, "paper", name="split"),
        Reference(unrestored, "validation"),
        Reference(ReferenceRole.AFFINE_FIT, "validation"),
        Reference(unrestored, "validation", size=192),
        Reference(bound, "validation", size=64),
        Reference(bound, "validation", size=192),
        Reference(unrestored, "test"),
        *(
            Reference(ReferenceRole.DECONVOLUTION, "test", name=name, fields=2)
            for name in ("unsharp mask", "Wiener", "Richardson-Lucy")
        ),
    ]
    assert list(history.transfer_references) == [
        Reference(ReferenceRole.PAPER, "paper", name="whole"),
        Reference(unrestored, "test"),
    ]
    paper = history.references[Reference(ReferenceRole.PAPER, "paper", name="whole")]
    assert (paper.eval_split, paper.fields, paper.own) == ("paper", [], {})
    assert paper.level_means("ssim") == [0.805, 0.686]  # of Tables 3 and 4, planes 0 and 33


def test_scores_keep_their_numbers(history: History) -> None:
    written = next(line for line in lines() if line["event"] == "score")
    score = history.runs[RunId(Phase.SEARCH, TrialId(0), 0)].score
    assert score is not None
    assert score.eval_split == written["judged_on"] == "validation"
    assert score.evaluation == written["common"]
    assert score.own == written["own"]
    assert (score.summary, score.cost) == (written["summary"], written["cost"])


def test_other_numbers_are_kept_beside_the_first(history: History) -> None:
    told = [(one.of, str(one.run), one.epoch, one.attempt) for one in history.repeats]
    assert told == [
        ("epoch", "search 6 0", 1, 0),
        ("epoch", "search 6 0", 1, 1),
        ("score", "search 6 0", None, 0),
    ]
    first, second, score = (one.instead for one in history.repeats)
    assert (first["loss"], second["loss"], score["ssim"]) == (0.6, math.inf, 0.123)


def test_what_a_network_was_asked_later_is_of_its_confirmation(history: History) -> None:
    assert list(history.transfers) == [confirm("residual_unet", 1)]
    assert isinstance(history.transfers[confirm("residual_unet", 1)], TransferScored)
    (stitching,) = history.stitchings.values()
    assert (stitching.run, stitching.border_px) == (confirm(1, 0), 8)


def test_a_reference_that_no_version_wrote_is_named(folder: Path) -> None:
    text = OLD.read_text(encoding="utf-8")
    (folder / FILE_NAME).write_text(text.replace("do-nothing (test)", "nonsense", 1))
    with pytest.raises(StudyError, match=r"line 28: the reference 'nonsense' is none"):
        read_events(folder)


def test_an_older_study_that_is_resumed_goes_over_to_todays_format(folder: Path) -> None:
    before = read_events(folder)
    run = confirm("earlier", 2)
    with Ledger(folder) as ledger:
        with pytest.raises(StudyError, match=r"has format 2.*resume the study before"):
            ledger.append(begun(run))
        for event in (resumed(2, seed=5), begun(run), epoch(run, 1)):
            ledger.append(event)
    events = read_events(folder)
    assert events[: len(before)] == before
    assert [event.kind for event in events[len(before) :]] == ["resumed", "trial", "epoch"]
    assert isinstance(events[-1], EpochEnded)
    with Ledger(folder) as ledger:
        assert ledger.history.config == StudyConfig(seed=5)
        ledger.append(epoch(run, 2))  # the format of the file's end is known
        assert Counter(event.kind for event in read_events(folder))["epoch"] == 9


@pytest.mark.parametrize(("written", "age"), [(1, "an older"), (99, "a newer")])
def test_a_format_that_is_not_read_is_refused_by_name(
    written: int, age: str, tmp_path: Path
) -> None:
    study = lines()[0] | {"format": written}
    (tmp_path / FILE_NAME).write_text(json.dumps(study) + "\n")
    told = rf"line 1: the ledger has format {written}, written by {age} .* formats 2 and 3"
    for read in (read_events, read_history, Ledger):
        with pytest.raises(StudyError, match=told):
            read(tmp_path)
