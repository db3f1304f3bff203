from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import pytest

from analysis.claims import check_claims
from analysis.load import load_study
from analysis.questions import answers
from analysis.reproduced_tables import average_table
from analysis.sentences import Agreement
from study.config import SearchConfig
from tests.made_up_study import FAITHFUL, SEARCHED, SPLIT, WHOLE, Truth, make_study

LOST = {WHOLE.label: 0.1, SPLIT.label: 0.3, SEARCHED.label: 0.1}


def test_the_research_questions_are_answered_beside_the_unrestored_input(tmp_path: Path) -> None:
    make_study(tmp_path / "s", Truth(lost=LOST))
    (_, first), (_, second) = answers(load_study(tmp_path / "s"))
    assert "+0.100 (95 % interval" in first[0]
    assert "better at 4 of 4, worse at 0, inconclusive at 0" in first[0]
    assert "of the affine change of intensities" in first[1]
    assert "would score SSIM 0.980" in first[2]  # the upper bound at 128 px, not at 768
    assert any(sentence.startswith(SEARCHED.label) for sentence in first)
    assert second[0] == "Trained on BBBC006, scored on BBBC005."
    assert any(sentence.startswith(SEARCHED.label) for sentence in second)
    make_study(tmp_path / "without", Truth())
    (_, _), (_, none) = answers(load_study(tmp_path / "without"))
    assert "Not measured" in none[0]


def test_a_collapsed_network_is_said_to_have_learned_nothing(tmp_path: Path) -> None:
    make_study(tmp_path, Truth(collapsed={SPLIT.label: range(3)}))
    (_, sentences), _ = answers(load_study(tmp_path))
    [text] = [one for one in sentences if "mean image" in one]
    assert text.startswith(f"3 of 3 seeds of {SPLIT.label} collapsed")


def test_a_transfer_that_is_not_finished_is_answered_as_far_as_it_is(tmp_path: Path) -> None:
    make_study(tmp_path, Truth(searched=False, lost={WHOLE.label: 0.1}))
    study = load_study(tmp_path)
    assert study.transfer is not None
    scored = set(average_table(study.transfer)["label"])
    assert scored == {WHOLE.label, "unrestored input (test)"}
    assert check_claims(study)[1].agreement == Agreement.NOT_MEASURED
    _, (_, sentences) = answers(study)
    assert all(one.startswith(WHOLE.label) for one in sentences[1:])


def test_the_questions_are_answered_by_the_primary_endpoint_first(tmp_path: Path) -> None:
    search = SearchConfig(objectives=["worst_ssim"])
    config = dataclasses.replace(FAITHFUL, search=search)
    make_study(tmp_path, Truth(config=config, unrestored=0.6))
    (_, sentences), _ = answers(load_study(tmp_path))
    [*_, text] = [one for one in sentences if "(primary endpoint)" in one]
    assert text.startswith(f"{SEARCHED.label}: worst level's SSIM (primary endpoint) 0.70")
    gain = re.search(r"of the unrestored input: \+(0\.\d+) ", text)
    assert gain is not None
    assert float(gain[1]) == pytest.approx(0.2, abs=0.005)
