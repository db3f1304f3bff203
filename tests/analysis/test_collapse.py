from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from analysis.claims import check_claims
from analysis.collapse import collapsed_runs
from analysis.differences import differences
from analysis.endpoint import median_replicate, replicate_values
from analysis.load import Study, load_study
from analysis.outcome_table import ranking
from analysis.report import outcome_text
from analysis.sentences import Agreement
from analysis.verdicts import Verdict
from tests.made_up_study import SEARCHED, SPLIT, Truth, make_study


def test_a_collapsed_seed_is_named_although_its_output_varies_by_hundredths_of_a_db(
    tmp_path: Path, complete: Study
) -> None:
    make_study(tmp_path, Truth(collapsed={SPLIT.label: [0, 2], SEARCHED.label: [1]}))
    study = load_study(tmp_path)
    assert collapsed_runs(study) == {SPLIT.label: [0, 2], SEARCHED.label: [1]}
    assert collapsed_runs(complete) == {}


def test_one_shape_in_another_scale_at_each_level_is_a_collapse_too(complete: Study) -> None:
    """Of a network whose output is in units of its input."""
    images = complete.images.copy()
    ours = (images["label"] == SEARCHED.label) & (images["replicate"] == 1)
    images["si_psnr"] = images["psnr"].where(~ours, 17.25)
    assert images.loc[ours, "psnr"].nunique() > 1
    assert collapsed_runs(dataclasses.replace(complete, images=images)) == {SEARCHED.label: [1]}


def test_a_collapsed_seed_does_not_hide_in_a_mean(tmp_path: Path) -> None:
    make_study(tmp_path, Truth(collapsed={SPLIT.label: [0], SEARCHED.label: [1]}))
    study = load_study(tmp_path)
    table = ranking(study).set_index("label")
    row = table.loc[SEARCHED.label]
    assert (row["collapsed"], row["seeds"]) == (1, 3)
    low, high = row["endpoint_low"], row["endpoint_high"]
    assert (low, high) == (pytest.approx(0.4, abs=0.01), pytest.approx(0.7625, abs=0.01))
    assert f"{low:.4f} to {high:.4f}" in outcome_text(study)
    assert f"1 of 3 seeds of {SEARCHED.label} collapsed" in outcome_text(study)
    [difference] = differences(study)
    assert difference.judgement.verdict == Verdict.INCONCLUSIVE
    assert f"1 of 3 seeds of {SEARCHED.label} collapsed" in difference.text
    claim = check_claims(study)[0]
    assert claim.agreement == Agreement.NOT_MEASURED
    assert f"1 of 3 seeds of {SPLIT.label} collapsed" in claim.measured


def test_what_is_shown_of_a_configuration_is_its_median_seed(tmp_path: Path) -> None:
    make_study(tmp_path, Truth(collapsed={SPLIT.label: [0]}, seeds=2))
    study = load_study(tmp_path)
    assert median_replicate(study, SPLIT.label) == 0  # the lower one of two
    make_study(tmp_path / "3", Truth(collapsed={SPLIT.label: [0]}))
    study = load_study(tmp_path / "3")
    values = replicate_values(study, SPLIT.label)
    assert median_replicate(study, SPLIT.label) == values.sort_values().index[1] != 0
