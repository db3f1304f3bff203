from __future__ import annotations

from pathlib import Path

import pytest

from analysis.load import Study, load_study
from analysis.outcome_table import (
    Standing,
    curve_table,
    curves_by_level,
    front_table,
    ranking,
)
from study.record.identities import Reference, ReferenceRole, Role
from tests.made_up_study import SEARCHED, SPLIT, WHOLE, Truth, make_study

REFERENCES = ["unrestored input, best affine fit (test)", "unrestored input (test)"]


def test_the_best_comes_first_with_what_it_is_and_what_it_cost(complete: Study) -> None:
    table = ranking(complete)
    assert list(table["label"]) == [SEARCHED.label, SPLIT.label, WHOLE.label, *REFERENCES]
    assert list(table["role"]) == [
        Standing.WINNER,
        Standing.BASELINE,
        Standing.BASELINE,
        Standing.REFERENCE,
        Standing.REFERENCE,
    ]
    assert list(table["seeds"]) == [3, 3, 3, 0, 0]
    assert list(table["parameters"][:3]) == [102, 101, 100]
    # .75, and the mean of what four defocused levels add
    assert table["ssim"][0] == pytest.approx(0.75 - 0.15 / 4, abs=0.01)


def test_without_a_confirmation_the_outcome_is_that_of_the_search(tmp_path: Path) -> None:
    make_study(tmp_path, Truth(seeds=0))
    table = ranking(load_study(tmp_path))
    assert set(table["seeds"]) == {0, 1}
    assert "unrestored input (validation)" in set(table["label"])
    assert "unrestored input (test)" not in set(table["label"])


def test_curves_are_those_of_networks_and_of_what_is_comparable_beside_them(
    complete: Study,
) -> None:
    curves = curves_by_level(complete, "ssim")
    paper = ["paper: split image", "paper: whole image"]
    assert [one.label for one in curves] == [
        SEARCHED.label,
        SPLIT.label,
        WHOLE.label,
        *REFERENCES,
        *paper,
    ]
    assert [one.subject for one in curves[:3]] == [Role.SEARCHED, Role.BASELINE, Role.BASELINE]
    table = curve_table(curves)
    assert table.loc["paper: whole image", 33] == 0.686
    assert 16 not in curves[-1].values
    own = {one.label for one in curves_by_level(complete, "ssim", own=True)}
    assert own - {one.label for one in curves} == {"unrestored input at 768 px (test)"}


def test_the_papers_curves_stay_as_printed_at_each_models_own_size(complete: Study) -> None:
    own = {one.label: one for one in curves_by_level(complete, "psnr", own=True)}
    assert own["paper: whole image"].values[12] == 33.24
    assert own["paper: whole image"].subject == Reference(
        ReferenceRole.PAPER, "paper", name="whole"
    )
    assert own[WHOLE.label].values[0] == pytest.approx(30.277)  # and not the 26 dB that SSIM gives


def test_the_front_by_hand(tmp_path: Path, complete: Study) -> None:
    # each is better and larger than the one before
    assert front_table(complete, ["parameters"])["on_front"].tolist() == [True, True, True]
    parameters = {WHOLE.label: 1.0, SPLIT.label: 3.0, SEARCHED.label: 2.0}
    ssim = {WHOLE.label: 0.65, SPLIT.label: 0.7, SEARCHED.label: 0.75}
    make_study(tmp_path, Truth(ssim=ssim, parameters=parameters))
    front = front_table(load_study(tmp_path), ["parameters"]).set_index("label")["on_front"]
    assert front.to_dict() == {SEARCHED.label: True, SPLIT.label: False, WHOLE.label: True}
    assert front_table(complete, ["unknown"]).empty
