from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import optuna
import pytest

from analysis.load import Study, load_study, tables_of
from analysis.search_report import common_rung, rung_agreement, validation_test_gap_text
from study.config import SearchConfig, TrainingConfig
from study.record.events import Event, TrialBegun
from study.record.history import History
from study.record.identities import Phase, RunId, TrialId
from tests.made_up_study import FAITHFUL, SEARCHED, Truth, make_study, study_events


def test_the_rung_score_is_held_against_the_full_one(complete: Study) -> None:
    correlation, count, share = rung_agreement(complete)
    assert (correlation, count) == (pytest.approx(1.0), 3)
    assert share == pytest.approx(0.02)


def test_the_validation_test_gap_is_that_of_selection_and_confirmation(complete: Study) -> None:
    runs = complete.history.runs
    search = runs[RunId(Phase.SEARCH, SEARCHED.trial, 0)].objective
    confirm = np.mean(
        [runs[RunId(Phase.CONFIRM, SEARCHED.trial, seed)].objective for seed in range(3)]
    )
    text = validation_test_gap_text(complete)
    assert text.startswith("SSIM on validation, where it was selected, and on test, where it was")
    assert f"{SEARCHED.label} {search:.4f} and {confirm:.4f}" in text


def test_the_lines_of_the_search_are_named(page: str, complete: Study) -> None:
    of_search = [
        event.row
        for event in complete.history.events
        if getattr(event, "phase", None) == Phase.SEARCH
    ]
    assert f"rows {min(of_search)} to {max(of_search)}: the trials of the search" in page


def rungs(depths: list[int]) -> list[Event]:
    """Events of a search of so many trials, each with a rung score of a tenth of its depth."""
    events = list(study_events(Truth(seeds=0)))
    [begun] = [one for one in events if isinstance(one, TrialBegun) and one.trial == TrialId(2)]
    kept = [one for one in events if getattr(one, "phase", None) != Phase.SEARCH]
    [epoch] = [
        one for one in events if one.kind == "epoch" and getattr(one, "trial", None) == TrialId(2)
    ]
    for number, depth in enumerate(depths):
        trial = TrialId(number)
        metrics = {"objective": 0.1 * depth}
        kept += [
            dataclasses.replace(begun, trial=trial),
            dataclasses.replace(epoch, trial=trial, metrics=metrics),
        ]
    return kept


def test_hyperparameter_importance_is_told_from_the_scores_that_all_trials_have(
    tmp_path: Path,
) -> None:
    make_study(tmp_path, Truth(seeds=0))
    assert common_rung(load_study(tmp_path)) is None  # no Optuna study was left
    held = optuna.create_study(
        storage=f"sqlite:///{tmp_path / 'optuna.db'}", study_name="s", direction="maximize"
    )
    for number in range(12):
        trial = held.ask()
        trial.set_user_attr("label", "earlier study" if number < 2 else "searched")
        trial.suggest_categorical("family", ["whole"])
        trial.suggest_int("depth", 1, 5)
        trial.suggest_float("rate", 0.1, 0.9)
    depths = [trial.params["depth"] for trial in held.trials[2:]]

    def rung_of(*, epochs: int, grace_epochs: int) -> tuple[optuna.Study, int] | None:
        config = dataclasses.replace(
            FAITHFUL,
            search=SearchConfig(grace_epochs=grace_epochs),
            training=TrainingConfig(epochs=epochs),
        )
        events = rungs(depths)
        history = History([dataclasses.replace(events[0], config=config), *events[1:]])
        return common_rung(tables_of(tmp_path, history))

    common = rung_of(epochs=1, grace_epochs=4)
    assert common is not None
    rung, epoch = common
    assert epoch == 1  # the budget ends before the first rung
    assert [(trial.params["depth"], trial.value) for trial in rung.trials] == [
        (depth, pytest.approx(0.1 * depth)) for depth in depths
    ]
    assert rung_of(epochs=7, grace_epochs=7) is None
