from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from analysis.load import REFERENCE, Study, load_study, tables_of
from study.errors import StudyError
from study.record.events import (
    StudyEnded,
    StudyResumed,
    TrialBegun,
    TrialEnded,
    TrialScored,
)
from study.record.history import History
from study.record.identities import Phase, ReferenceRole, Role, RunId, TrialId, TrialStatus
from study.record.ledger import Ledger
from tests.made_up_study import FAITHFUL, SEARCHED, SHAPE, WHOLE, Truth, make_study, study_events


def test_every_image_has_a_row_with_its_numbers(complete: Study) -> None:
    images, run = complete.images, RunId(Phase.CONFIRM, WHOLE.trial, 1)
    rows = images[(images["phase"] == "confirm") & (images["label"] == WHOLE.label)]
    rows = rows[rows["replicate"] == 1]
    score = complete.history.runs[run].score
    assert score is not None
    assert np.array_equal(rows["ssim"].to_numpy().reshape(10, 5), score.evaluation["ssim"])
    assert np.array_equal(rows["own_psnr"].to_numpy().reshape(10, 5), score.own["psnr"])
    assert list(rows["level"][:5]) == list(SHAPE)
    assert set(rows["row"]) == {score.row}
    assert set(rows["role"]) == {Role.BASELINE}


def test_references_are_rows_without_a_trial_and_with_a_role(complete: Study) -> None:
    rows = complete.images[complete.images["phase"] == REFERENCE]
    assert rows["trial"].isna().all()
    bounds = rows[(rows["role"] == ReferenceRole.UPPER_BOUND) & (rows["eval_split"] == "test")]
    assert set(bounds["size"]) == {128, 768}
    paper = rows[rows["role"] == ReferenceRole.PAPER]
    assert set(paper["field"]) == {""}
    assert paper["own_ssim"].isna().all()


def test_images_that_were_not_scored_have_no_row(complete: Study) -> None:
    leak = complete.images[complete.images["phase"] == "leak"]
    assert len(leak) == 3 * 13  # every fourth of 50, three seeds


def test_a_run_that_was_stopped_or_has_not_ended_has_a_row(tmp_path: Path) -> None:
    events = []
    for event in study_events(Truth(seeds=0)):
        if getattr(event, "trial", None) == SEARCHED.trial and isinstance(event, TrialScored):
            continue
        if getattr(event, "trial", None) == SEARCHED.trial and isinstance(event, TrialEnded):
            event = dataclasses.replace(event, status=TrialStatus.STOPPED, reason="behind")
        if isinstance(event, TrialBegun) and event.trial == SEARCHED.trial:
            events.append(dataclasses.replace(event, trial=TrialId(3), label="trial 0003"))
        events.append(event)
    trials = tables_of(tmp_path, History(events)).trials.set_index("label")
    assert list(trials["status"]) == ["finished", "finished", "unfinished", "stopped"]
    stopped = trials.loc[SEARCHED.label]
    assert (stopped["reason"], stopped["epoch"], stopped["parameters"]) == ("behind", 1, 102)
    assert np.isnan(stopped["ssim"])
    assert trials.loc["trial 0003", "epoch"] == 0


def test_a_transfer_is_a_study_of_the_same_runs_on_other_images(complete: Study) -> None:
    other = complete.transfer
    assert other is not None
    assert (other.kind, other.in_focus, other.trained_on.title) == ("bbbc005", 1, "BBBC006")
    assert complete.dataset.title == complete.trained_on.title
    assert set(other.images["level"]) >= {1, 4, 48}
    confirmed = other.trials[other.trials["phase"] == "confirm"].set_index("label")["ssim"]
    assert confirmed[WHOLE.label].tolist() == pytest.approx([0.855] * 3, abs=0.002)
    assert set(other.trials["phase"]) == {"confirm", "search"}
    assert other.transfer is None


def test_runs_are_found_in_the_folder_wherever_it_was_when_they_ran(complete: Study) -> None:
    run = complete.history.runs[RunId(Phase.CONFIRM, WHOLE.trial, 0)]
    assert run.begun.folder == "anywhere/confirm-0000-0"
    assert complete.run_folder(run) == complete.folder / "trials" / "confirm-0000-0"


def test_a_study_that_was_extended_has_its_last_configuration(tmp_path: Path) -> None:
    history = make_study(tmp_path, Truth(seeds=0))
    longer = dataclasses.replace(
        FAITHFUL, training=dataclasses.replace(FAITHFUL.training, epochs=99)
    )
    environment = history.study.environment
    with Ledger(tmp_path) as ledger:
        ledger.append(StudyResumed(run=1, config=longer, environment=environment))
    study = load_study(tmp_path)
    assert (study.config.training.epochs, study.history.ended) == (99, False)
    with Ledger(tmp_path) as ledger:
        ledger.append(StudyEnded(run=1, status="finished"))
    assert load_study(tmp_path).history.ended


def test_a_folder_without_a_study_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StudyError, match="holds no study"):
        load_study(tmp_path)
