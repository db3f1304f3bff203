from __future__ import annotations

from pathlib import Path

import pytest

from analysis.best_run import best_run, choose_run
from analysis.conclusion import conclude
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


def test_the_seed_is_chosen_by_its_training_loss_and_not_by_its_score(tmp_path: Path) -> None:
    losses = {SEARCHED.label: [0.3, 0.1, 0.2]}
    make_study(tmp_path / "a", Truth(losses=losses, unrestored=0.4))
    assert best_run(load_study(tmp_path / "a")).id.replicate == 1
    collapsed = {SEARCHED.label: [1]}  # the lowest loss, of an image that never changes
    make_study(tmp_path / "b", Truth(losses=losses, collapsed=collapsed, unrestored=0.3))
    best = choose_run(load_study(tmp_path / "b"))
    assert (best.run.id.replicate, best.collapsed, best.refusal) == (2, False, "")


def test_a_winner_whose_every_seed_collapsed_is_refused(tmp_path: Path) -> None:
    collapsed = {SEARCHED.label: range(3), SPLIT.label: range(3), WHOLE.label: range(3)}
    make_study(tmp_path, Truth(collapsed=collapsed, unrestored=0.1))
    best = choose_run(load_study(tmp_path))
    assert best.collapsed
    assert (
        best.refusal == f"{best.run.label} collapsed: it restores the same image whatever it is"
        " shown"
    )


def test_a_winner_that_collapsed_gives_way_to_a_baseline_that_can_be_used(tmp_path: Path) -> None:
    """A good baseline was there, and no champion was named."""
    ssim = {WHOLE.label: 0.7, SPLIT.label: 0.6, SEARCHED.label: 0.75}
    make_study(
        tmp_path,
        Truth(ssim=ssim, wells=5, collapsed={SEARCHED.label: range(3)}, unrestored=0.3),
    )
    best = choose_run(load_study(tmp_path))
    assert (best.run.label, best.refusal) == (WHOLE.label, "")


def test_a_network_below_the_unrestored_input_is_no_champion(tmp_path: Path) -> None:
    history = make_study(tmp_path, Truth(unrestored=0.9))
    study = load_study(tmp_path)
    best = choose_run(study)
    assert best.below_unrestored
    run = study.history.runs[best.run.id]
    assert run.score is not None
    assert best.scores["ssim"] == pytest.approx(run.score.summary["ssim"])
    assert best.scores["psnr"] == pytest.approx(run.score.summary["psnr"])
    assert best.unrestored["ssim"] == pytest.approx(0.9 - 0.15 / 4, abs=0.01)
    assert f"SSIM {best.scores['ssim']:.4f}" in best.sentence
    assert f"the unrestored input SSIM {best.unrestored['ssim']:.4f}" in best.sentence
    for one in history.runs.values():
        place = tmp_path / "trials" / one.id.file_name
        place.mkdir(parents=True)
        (place / "weights.npz").touch()
    outcome = conclude(tmp_path, history)
    assert outcome.tags["champion"].startswith(
        f"none: {best.run.label} is below the unrestored input"
    )
    assert "champion" not in {model.alias for model in outcome.models}
    assert {"winner", "paper-s-split-image"} < {model.alias for model in outcome.models}


def test_a_network_above_the_unrestored_input_is_not_refused(complete: Study) -> None:
    best = choose_run(complete)
    assert (best.below_unrestored, best.refusal) == (False, "")
    of_search = choose_run(complete, trial=WHOLE.trial)
    assert of_search.unrestored["endpoint"] == pytest.approx(of_search.unrestored["ssim"])
