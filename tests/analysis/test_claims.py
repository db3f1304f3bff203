from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from analysis.claims import check_claims
from analysis.load import load_study
from analysis.sentences import Agreement
from tests.made_up_study import SHAPE, SPLIT, WHOLE, Truth, make_study

ALL_SPLIT = {SPLIT.label: range(3)}
LOST = {WHOLE.label: 0.1, SPLIT.label: 0.3}
FALLING = SHAPE | {0: -0.1}  # as much below focus as above
RISING = SHAPE | {0: -0.1, 32: 0.05}


def gap(whole_less_split: float) -> dict[str, Any]:
    return {"ssim": {WHOLE.label: 0.8, SPLIT.label: 0.8 - whole_less_split}}


@pytest.mark.parametrize(
    ("truth", "claim", "agreement"),
    [
        ({}, 0, Agreement.AGREES),
        (gap(-0.05), 0, Agreement.DIFFERS),
        (gap(0.0), 0, Agreement.OPEN),
        (gap(0.3), 0, Agreement.DIFFERS_IN_SIZE),
        ({"collapsed": ALL_SPLIT}, 0, Agreement.NOT_MEASURED),
        ({"wells": 7}, 0, Agreement.NOT_MEASURED),
        ({}, 1, Agreement.AGREES),
        ({"levels": FALLING}, 1, Agreement.OPEN),
        ({"levels": RISING}, 1, Agreement.DIFFERS),
        ({"levels": {0: 0.0, 16: 0.1, 32: 0.0}}, 1, Agreement.NOT_MEASURED),
        ({"simulated": "by a Gaussian"}, 1, Agreement.NOT_MEASURED),
        ({}, 2, Agreement.NOT_MEASURED),
        ({"lost": LOST}, 3, Agreement.AGREES),
        ({"lost": LOST | {WHOLE.label: 0.2}}, 3, Agreement.DIFFERS),
        ({}, 3, Agreement.AGREES),
        ({"brighter": -0.02}, 3, Agreement.DIFFERS),
        ({"brighter": 0.0}, 3, Agreement.OPEN),
        ({"collapsed": ALL_SPLIT}, 3, Agreement.NOT_MEASURED),
        ({}, 4, Agreement.AGREES),
        ({"excess": 0.001}, 4, Agreement.DIFFERS),
        ({"collapsed": ALL_SPLIT}, 4, Agreement.NOT_MEASURED),
    ],
)
def test_claims_are_judged_by_their_intervals(
    truth: dict[str, Any], claim: int, agreement: Agreement, tmp_path: Path
) -> None:
    make_study(tmp_path, Truth(searched=False, **truth))
    check = check_claims(load_study(tmp_path))[claim]
    assert check.agreement == agreement, check


def test_claims_name_their_numbers(tmp_path: Path) -> None:
    make_study(tmp_path, Truth(searched=False, lost=LOST))
    checks = check_claims(load_study(tmp_path))
    assert "+0.05" in checks[0].measured
    assert "printed +0.074" in checks[0].measured  # .876 less .802
    assert "BBBC005" in checks[1].claim
    lost = re.findall(r"([\d.]+)% lost", checks[3].measured)
    assert [float(one) for one in lost] == pytest.approx([10, 30], abs=0.15)
    assert "+0.00800" in checks[5].measured  # (.01 - 0) - (.002 - 0)


def test_of_a_data_set_that_the_paper_does_not_have_claims_are_without_its_numbers(
    tmp_path: Path,
) -> None:
    make_study(tmp_path, Truth(searched=False, kind="plankton"))
    checks = check_claims(load_study(tmp_path))
    assert [check.agreement for check in checks] == [
        Agreement.AGREES,
        Agreement.NOT_MEASURED,
        Agreement.AGREES,
        Agreement.AGREES,
    ]
    assert "printed" not in checks[0].measured
