from __future__ import annotations

from pathlib import Path

import pytest

from analysis.best_run import best_run
from analysis.load import Study, load_study
from study.errors import StudyError
from study.record.identities import Phase, RunId, TrialId
from tests.made_up_study import SEARCHED, SPLIT, WHOLE, Truth, make_study


def test_the_winner_is_the_one_to_use(complete: Study) -> None:
    assert best_run(complete).id == RunId(Phase.CONFIRM, SEARCHED.trial, 0)
    assert best_run(complete, trial=WHOLE.trial).id == RunId(Phase.CONFIRM, WHOLE.trial, 0)


def test_a_winner_that_proved_worse_gives_way_to_the_better_baseline(tmp_path: Path) -> None:
    ssim = {WHOLE.label: 0.7, SPLIT.label: 0.8, SEARCHED.label: 0.75}
    make_study(tmp_path, Truth(ssim=ssim))
    assert best_run(load_study(tmp_path)).label == SPLIT.label


def test_without_a_verdict_the_winner_stays(tmp_path: Path) -> None:
    ssim = {WHOLE.label: 0.7, SPLIT.label: 0.8, SEARCHED.label: 0.75}
    make_study(tmp_path, Truth(ssim=ssim, wells=5))
    assert best_run(load_study(tmp_path)).label == SEARCHED.label


def test_a_trial_that_has_not_finished_is_refused_with_those_that_have(complete: Study) -> None:
    expected = (
        rf"no run of trial 7 has finished in .*: 0 \({WHOLE.label}\), 1 \({SPLIT.label}\), 2 \("
    )
    with pytest.raises(StudyError, match=expected):
        best_run(complete, trial=TrialId(7))


def test_of_a_study_in_which_nothing_has_finished_there_is_none(tmp_path: Path) -> None:
    make_study(tmp_path, Truth(searched=False, seeds=0))
    with pytest.raises(StudyError, match="Finished trials: none"):
        best_run(load_study(tmp_path))
