"""The paper's tables, claims and the leak on made-up studies whose truth is known."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from analysis.claims import answers, claims, leak, leak_text
from analysis.compare import Estimate, estimate
from analysis.load import Study, load_study
from analysis.paper import reference_curves
from analysis.paper_report import result_tables
from analysis.report import write_report
from analysis.tables import average_table, in_focus_table, level_table, verdict
from study.config import StudyConfig
from study.record.ledger import Ledger

WELLS = [f"w{index}" for index in range(10)]
PLANES, BLURS = [0, 7, 16, 25, 33], [1, 4, 48]
POINTS = {
    "paper's whole image": {"family": "whole", "image_size": 128},
    "paper's split image": {"family": "split", "image_size": 768, "patch_size": 128},
}


def score(ssim: np.ndarray, levels: list[int], in_focus: int, **own: float) -> dict[str, Any]:
    """A score with the SSIM of each well (row) and level (column); 20 dB everywhere, and the own metrics that are named."""
    flat = np.full(ssim.shape, 20.0)
    common = {"ssim": ssim, "psnr": flat, "nrmse": flat / 100, "mse": flat / 1000}
    at_own = {name: np.full(ssim.shape, own.get(name, 0.5)) for name in ("mse", "rmse", "nrmse", "psnr", "ssim_range2", "cells_bias")}
    defocused = [index for index, level in enumerate(levels) if level != in_focus]
    return {
        "judged_on": "test", "levels": levels, "fields": WELLS, "wells": WELLS,
        "common": {name: values.tolist() for name, values in common.items()},
        "own": {name: values.tolist() for name, values in (at_own | {"ssim": ssim}).items()},
        "summary": {name: float(np.nanmean(values[:, defocused])) for name, values in common.items()},
    }  # fmt: skip


def make_study(folder: Path, *, simulated: str | None = None, leak_by: float | None = None, transfer: bool = False) -> Study:
    """Write a study in which whole is .05 better than split and .1 above do-nothing, and falls by .1 from z 25 to z 33."""
    rng = np.random.default_rng(0)
    well = rng.normal(0, 0.01, (len(WELLS), 1))
    shape = np.array([-0.05, 0, 0.1, 0, -0.1])
    images = {
        "title": "BBBC006", "simulated": simulated, "in_focus_level": 16, "level_title": "z-plane", "level_axis": "z",
        "shown_levels": [0, 33], "well_title": "well", "fields": {"test": 10}, "wells": {"test": 10},
    }  # fmt: skip

    def noise(count: int) -> np.ndarray:
        return rng.normal(0, 0.002, (len(WELLS), count))

    with Ledger(folder) as ledger:
        ledger.append(
            "study", uid="u", name="made-up", config=StudyConfig(name="made-up").to_dict(), split={}, images=images,
            store={"kind": "bbbc006", "levels": PLANES, "fingerprint": "abc", "source": "raw"},
            environment={"packages": {}, "git": "0", "python": "3.11", "backend": "tensorflow", "command": ["run.py"]},
        )  # fmt: skip
        for reference in reference_curves("bbbc006"):
            ledger.append("reference", **reference)
        ledger.append("reference", reference="do-nothing (test)", **score(0.7 + well + shape + noise(5), PLANES, 16))
        for trial, (label, point) in enumerate(POINTS.items()):
            for replicate in range(3):
                key = {"phase": "confirm", "trial": trial, "replicate": replicate}
                ledger.append("trial", **key, label=label, baseline=True, hyperparameters=point, seed=0, folder="none")
                ledger.append("epoch", **key, epoch=1, metrics={"loss": 0.1}, cost={"parameters": 1.0, "training_seconds": 1.0})
                values = 0.8 - 0.05 * trial + well + shape + noise(5)
                ledger.append(
                    "score", **key, **score(values, PLANES, 16, psnr=30.277 if trial == 0 else 20.0, cells_bias=0.02 * trial), cost={}
                )
                ledger.append("trial_end", **key, status="finished", reason="", epoch=1)
                if trial == 0 and leak_by is not None:
                    held_out = np.where(np.arange(50).reshape(10, 5) % 4 == 0, values + leak_by + noise(5), np.nan)
                    leaking = {**key, "phase": "leak"}
                    ledger.append("trial", **leaking, label=label, baseline=True, hyperparameters=point, seed=0, folder="none")
                    ledger.append("score", **leaking, **score(held_out, PLANES, 16), cost={})
                    ledger.append("trial_end", **leaking, status="finished", reason="", epoch=1)
                if trial == 1:
                    ledger.append("stitching", trial=1, replicate=replicate, label=label, **stitching(rng))
        if transfer:
            ledger.append(
                "transfer_set", store={"kind": "bbbc005", "levels": BLURS, "fingerprint": "def", "source": "raw5"},
                images=images | {"title": "BBBC005", "in_focus_level": 1, "level_title": "blur level F", "shown_levels": [4, 48]},
            )  # fmt: skip
            for reference in reference_curves("bbbc005"):
                ledger.append("transfer_reference", **reference)
            ledger.append("transfer_reference", reference="do-nothing (test)", **score(np.tile([1, 0.9, 0.6], (10, 1)) + well, BLURS, 1))
            for trial, label in enumerate(POINTS):
                for replicate in range(3):
                    values = np.tile([1, 0.9, 0.9 * (0.9 if trial == 0 else 0.7)], (10, 1)) + noise(3)
                    ledger.append("transfer", trial=trial, replicate=replicate, label=label, **score(values, BLURS, 1))
        ledger.append("test_opened", opening=0)
        ledger.append("study_end", run=0, status="finished", problems=[])
    return load_study(folder)


def stitching(rng: np.random.Generator) -> dict[str, Any]:
    """Errors .01 higher at the seams than inside when stitched, and .002 higher when not."""
    inside = rng.normal(0.05, 0.001, 10)
    border = {"stitched": (inside + 0.01).tolist(), "whole": (inside + 0.002).tolist()}
    same = {mode: inside.tolist() for mode in ("stitched", "whole")}
    return {
        "levels": [0, 33], "fields": WELLS, "wells": WELLS, "patch_size": 128, "border_px": 8, "border": border, "inside": same,
        "profile": {"stitched": [0.06, 0.05], "whole": [0.052, 0.05]}, "ssim": same, "psnr": same,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [(0.80, 0.8764, "worse"), (0.80, 0.8766, "same"), (0.8774, 0.9, "same"), (0.8776, 0.9, "better")],
)
def test_a_verdict_knows_rounding_and_the_interval(low: float, high: float, expected: str) -> None:
    ours = Estimate((low + high) / 2, low, high, 0.5, 10, 3)
    assert verdict("ssim", ours, (0.8765, 0.8775), reason="") == expected  # printed as 0.877
    turned = {"worse": "better", "better": "worse", "same": "same"}[expected]
    assert verdict("nrmse", ours, (0.8765, 0.8775), reason="") == turned  # lower is better
    assert verdict("ssim", ours, (0.8765, 0.8775), reason="simulated") == "not comparable: simulated"
    assert verdict("ssim", Estimate(0.9, np.nan, np.nan, np.nan, 5, 1), (0.8765, 0.8775), reason="").startswith("no verdict: 5 wells")


def test_a_mean_and_its_interval_against_scipy() -> None:
    values = np.random.default_rng(2).normal(0.5, 0.1, 12)
    found = estimate(pd.DataFrame({"well": np.arange(12), "replicate": 0, "ssim": values}))
    low, high = stats.t.interval(0.95, 11, loc=values.mean(), scale=stats.sem(values))
    assert (found.mean, found.low, found.high) == pytest.approx((values.mean(), low, high))


def test_cells_beside_the_paper(tmp_path: Path) -> None:
    study = make_study(tmp_path / "real")
    table = average_table(study).set_index(["label", "metric"])
    cell = table.loc[("paper's whole image", "psnr")]
    assert (cell["paper"], cell["verdict"]) == ("30.277", "same")
    assert table.loc[("paper's split image", "psnr"), "verdict"] == "worse"  # 20 against 26.905 dB
    assert table.loc[("paper's whole image", "mse"), "verdict"] == "worse"  # .5 against .001
    assert table.loc[("do-nothing (test)", "ssim"), "verdict"] == ""
    assert table.loc[("paper's whole image", "ssim"), "ours"] == pytest.approx(0.8 - 0.15 / 4, abs=0.01)
    levels = level_table(study).set_index(["label", "level", "metric"])
    assert levels.loc[("paper's whole image", 33, "ssim"), "paper"] == "0.686"
    assert levels.loc[("paper's whole image", 33, "mse"), "paper"] == "0.004"
    assert 16 not in level_table(study)["level"].unique()
    assert set(average_table(make_study(tmp_path / "sim", simulated="by a Gaussian"))["verdict"]) == {"not comparable: simulated", ""}
    harm = in_focus_table(study).set_index(["label", "metric"])
    assert harm.loc[("paper's whole image", "ssim"), "ours"] == pytest.approx(0.9, abs=0.01)


def test_claims_are_judged_by_their_intervals(tmp_path: Path) -> None:
    study = make_study(tmp_path / "s", transfer=True)
    assert [one.agrees for one in claims(study)] == ["agrees"] * 5
    assert "+0.05" in claims(study)[0].found
    assert "10.0% lost" in claims(study)[2].found
    assert "30.1% lost" in claims(study)[2].found
    assert "+0.0080" in claims(study)[4].found  # (.01 - 0) - (.002 - 0)
    without = claims(make_study(tmp_path / "without"))
    assert without[2].agrees == "not measured"


def test_the_research_questions_are_answered_beside_do_nothing(tmp_path: Path) -> None:
    (_, first), (_, second) = answers(make_study(tmp_path / "s", transfer=True))
    assert "+0.100 (95 % interval" in first[0]
    assert "better at 4 of 4, worse at 0, not separable at 0" in first[0]
    assert "scored on BBBC005" in second[0]
    (_, _), (_, none) = answers(make_study(tmp_path / "without"))
    assert "Not measured" in none[0]


@pytest.mark.parametrize(("by", "told"), [(0.02, "fields leak"), (0.0, "no leak can be told")])
def test_the_leak_is_measured_on_the_images_that_both_hold_out(by: float, told: str, tmp_path: Path) -> None:
    study = make_study(tmp_path / "s", leak_by=by)
    found = leak(study)
    assert found is not None
    held_out = [divmod(index, 5) for index in range(0, 50, 4)]
    assert found.images == sum(PLANES[level] != 16 for _, level in held_out)
    assert found.rows["ssim"][2].mean == pytest.approx(by, abs=0.002)
    assert told in leak_text(found)
    assert leak(make_study(tmp_path / "none")) is None


def test_the_report_holds_the_transfer_the_seams_and_the_leak(tmp_path: Path) -> None:
    study = make_study(tmp_path / "s", transfer=True, leak_by=0.02)
    page = write_report(study).read_text()
    for text in ("Table 2: averages", "Table 5: by blur level F", "Figure 3 of the paper", "bordering effect of stitching", "split leaks"):
        assert text in page
    assert page.count('class="plotly-graph-div"') == 4  # SSIM and PSNR, here and there
    assert {"paper_table_1", "paper_table_3-4", "paper_table_2", "paper_table_5", "stitching", "claims"} <= set(result_tables(study))
