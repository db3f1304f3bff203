from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import pandas as pd
import pytest

from analysis.conclusion import conclude
from analysis.load import Study, load_study
from analysis.report import outcome_text
from analysis.search_report import front_text
from study.config import SearchConfig
from study.record.history import History
from study.record.identities import Phase, RunId
from study.record.outcome import CHAMPION, Outcome
from tests.made_up_study import FAITHFUL, SEARCHED, SPLIT, WHOLE, Truth, begun, make_study

FRONT = dataclasses.replace(FAITHFUL, search=SearchConfig(objectives=["ssim", "parameters"]))
SSIM = {WHOLE.label: 0.65, SPLIT.label: 0.7, SEARCHED.label: 0.75}


@pytest.fixture(scope="module")
def concluded(tmp_path_factory: pytest.TempPathFactory) -> tuple[Study, Outcome]:
    """A study with two objectives, whose runs have left their weights but for one; its outcome."""
    folder = tmp_path_factory.mktemp("concluded")
    history = make_study(folder, Truth(config=FRONT, ssim=SSIM))
    for run in history.runs.values():
        if run.label != WHOLE.label:
            place = folder / "trials" / run.id.file_name
            place.mkdir(parents=True)
            (place / "weights.npz").touch()
    return load_study(folder), conclude(folder, history)


def test_the_outcome_names_the_winner_and_its_verdict(concluded: tuple[Study, Outcome]) -> None:
    _, outcome = concluded
    assert {name: outcome.tags[name] for name in ("champion", "winner", "verdict", "baseline")} == {
        "champion": SEARCHED.label,
        "winner": SEARCHED.label,
        "verdict": "better than the better baseline",
        "baseline": SPLIT.label,
    }
    assert outcome.metrics["difference"] == pytest.approx(0.05, abs=0.001)
    assert outcome.metrics["winner_ssim"] == pytest.approx(0.7125, abs=0.01)
    assert outcome.metrics["p"] < 0.05


def test_networks_whose_weights_are_there_are_kept(concluded: tuple[Study, Outcome]) -> None:
    kept = {model.alias: (model.run, model.folder.name) for model in concluded[1].models}
    assert kept == {
        CHAMPION: (RunId(Phase.CONFIRM, SEARCHED.trial, 0), "confirm-0002-0"),
        "winner": (RunId(Phase.CONFIRM, SEARCHED.trial, 0), "confirm-0002-0"),
        "paper-s-split-image": (RunId(Phase.CONFIRM, SPLIT.trial, 0), "confirm-0001-0"),
    }


def test_the_front_is_in_the_outcome_where_costs_were_searched_for(
    concluded: tuple[Study, Outcome], complete: Study
) -> None:
    study, outcome = concluded
    named = re.findall(r"(\w[^;:]*) \(objective 0\.\d+, parameters (\d+)\)", outcome.tags["front"])
    assert named == [(SEARCHED.label, "102"), (SPLIT.label, "101"), (WHOLE.label, "100")]
    assert outcome.tags["front"].startswith("Pareto front of ssim, parameters on validation: ")
    assert [path.name for path in outcome.artifacts] == [
        "report.html",
        "front.csv",
        "front-parameters.png",
    ]
    assert pd.read_csv(outcome.artifacts[1])["on_front"].tolist() == [True, True, True]
    assert outcome.tags["front"] in outcome_text(study)
    assert front_text(complete) == ""


def test_nothing_is_concluded_where_nothing_has_finished(tmp_path: Path) -> None:
    assert conclude(tmp_path, History([begun(Truth())])) == Outcome()
    assert list(tmp_path.iterdir()) == []
