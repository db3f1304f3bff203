"""The paper's tables, claims and the leak on made-up studies whose truth is known."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from analysis.claims import check_claims
from analysis.figures import load_examples, panels
from analysis.leak import measure_leak
from analysis.load import Study, load_study
from analysis.paper_deviations import not_comparable
from analysis.paper_report import result_tables
from analysis.paper_tables import reference_curves
from analysis.questions import answers
from analysis.report import write_report
from analysis.reproduced_tables import average_table, in_focus_table, level_table
from analysis.statistics import Estimate, estimate
from analysis.verdicts import Judgement, Verdict, judge_cell
from study.config import DatasetConfig, EvaluationConfig, StudyConfig
from study.record.ledger import Ledger

WELLS = [f"w{index}" for index in range(10)]
PLANES, BLURS = [0, 7, 16, 25, 32], [1, 4, 48]
POINTS = {
    "paper's whole image": {"family": "whole", "image_size": 128},
    "paper's split image": {"family": "split", "image_size": 768, "patch_size": 128},
}


def score(ssim: np.ndarray, levels: list[int], in_focus: int, **own: float) -> dict[str, Any]:
    """A score with the SSIM of each well (row) and level (column), a PSNR that follows it, and the
    own metrics that are named.
    """
    evaluation = {"ssim": ssim, "psnr": 20 + 10 * ssim, "nrmse": 1 - ssim, "mse": (1 - ssim) / 10}
    at_own = {
        name: np.full(ssim.shape, own.get(name, 0.5))
        for name in ("mse", "rmse", "nrmse", "psnr", "ssim_range2", "cells_bias")
    }
    at_own["cells_bias"] += 0.05 * (ssim - np.nanmean(ssim))  # as noisy as that
    defocused = [index for index, level in enumerate(levels) if level != in_focus]
    return {
        "eval_split": "test",
        "levels": levels,
        "fields": WELLS,
        "wells": WELLS,
        "evaluation": {name: values.tolist() for name, values in evaluation.items()},
        "own": {name: values.tolist() for name, values in (at_own | {"ssim": ssim}).items()},
        "summary": {
            name: float(np.nanmean(values[:, defocused])) for name, values in evaluation.items()
        },
    }


FAITHFUL = StudyConfig(
    name="made-up",
    dataset=DatasetConfig(resize="paper"),
    evaluation=EvaluationConfig(inference="stitched"),
).to_dict()
SHAPE = {0: -0.05, 7: 0.0, 16: 0.1, 25: 0.0, 32: -0.1}  # falls by .05 below focus, by .1 above


def make_study(
    folder: Path,
    *,
    simulated: str | None = None,
    leak_by: float | None = None,
    transfer: bool = False,
    gap: float = 0.05,
    shape: dict[int, float] = SHAPE,
    brighter: float = 0.02,
    collapse: bool = False,
    excess: float = 0.01,
    lost: float = 0.1,
    searched: bool = False,
    unanswered: bool = False,
    examples: bool = False,
    **header: Any,
) -> Study:
    """Write a study in which whole is `gap` better than split and .1 above the unrestored input;
    three seeds each.
    """
    rng = np.random.default_rng(0)
    well, curve = rng.normal(0, 0.01, (len(WELLS), 1)), np.array(list(shape.values()))
    images = {
        "title": "BBBC006",
        "simulated": simulated,
        "in_focus_level": 16,
        "level_title": "z-plane",
        "level_axis": "z",
        "shown_levels": [0, 32],
        "well_title": "well",
        "fields": {"train": 758, "test": 10},
        "wells": {"train": 374, "test": 10},
    }
    points = POINTS | ({"trial 0002": POINTS["paper's whole image"]} if searched else {})

    def noise(count: int) -> np.ndarray:
        return rng.normal(0, 0.002, (len(WELLS), count))

    with Ledger(folder) as ledger:
        ledger.append(
            "study",
            uid="u",
            name="made-up",
            config=FAITHFUL | header,
            split={},
            images=images,
            store={
                "kind": "bbbc006",
                "levels": list(range(34)),
                "fingerprint": "abc",
                "source": "raw",
            },
            environment={
                "packages": {},
                "git": "0",
                "python": "3.11",
                "backend": "tensorflow",
                "command": ["run.py"],
            },
        )
        for reference in reference_curves("bbbc006"):
            ledger.append("reference", **reference)
        seen = score(0.7 + well + curve + noise(5), PLANES, 16, cells_bias=-0.1)
        ledger.append("reference", reference="unrestored input (test)", **seen)
        ledger.append("reference", reference="unrestored input at 768 px (test)", **seen)
        for trial, (label, hyperparameters) in enumerate(points.items()):
            for phase, seeds in (("search", int(searched)), ("confirm", 3)):
                for replicate in range(seeds):
                    key = {"phase": phase, "trial": trial, "replicate": replicate}
                    place = folder / "trials" / f"{phase}-{trial}-{replicate}"
                    if examples:
                        write_examples(place, size=32 if trial == 1 else 16)
                    about = {
                        "label": label,
                        "baseline": trial < 2,
                        "hyperparameters": hyperparameters,
                        "seed": 0,
                        "folder": str(place),
                    }
                    ledger.append("trial", **key, **about)
                    ledger.append(
                        "epoch",
                        **key,
                        epoch=1,
                        metrics={"loss": 0.1},
                        cost={"parameters": 1.0, "training_seconds": 1.0},
                    )
                    values = 0.8 - gap * (trial == 1) + well + curve + noise(5)
                    if trial == 1 and collapse:
                        values = np.full((10, 5), 0.4) + well
                    own = {
                        "psnr": 30.277 if trial == 0 else 20.0,
                        "cells_bias": -0.1 + brighter * (trial == 1),
                    }
                    found = score(values, PLANES, 16, **own)
                    found["summary"]["objective"] = found["summary"]["ssim"]
                    ledger.append("score", **key, **found, cost={})
                    ledger.append("trial_end", **key, status="finished", reason="", epoch=1)
                    if trial == 0 and leak_by is not None and phase == "confirm":
                        held_out = np.where(
                            np.arange(50).reshape(10, 5) % 4 == 0,
                            values + leak_by + noise(5),
                            np.nan,
                        )
                        leaking = {**key, "phase": "leak"}
                        ledger.append(
                            "trial",
                            **leaking,
                            label=label,
                            baseline=True,
                            hyperparameters=hyperparameters,
                            seed=0,
                            folder="none",
                        )
                        ledger.append("score", **leaking, **score(held_out, PLANES, 16), cost={})
                        ledger.append("trial_end", **leaking, status="finished", reason="", epoch=1)
                    if trial == 1 and phase == "confirm":
                        ledger.append(
                            "stitching",
                            trial=1,
                            replicate=replicate,
                            label=label,
                            **stitching(rng, excess),
                        )
        if transfer:
            ledger.append(
                "transfer_set",
                store={
                    "kind": "bbbc005",
                    "levels": [1, *range(15)],
                    "fingerprint": "def",
                    "source": "raw5",
                },
                images=images
                | {
                    "title": "BBBC005",
                    "simulated": None,
                    "in_focus_level": 1,
                    "level_title": "blur level F",
                    "shown_levels": [4, 48],
                    "fields": {"test": 10},
                    "wells": {"test": 10},
                },
            )
            for reference in reference_curves("bbbc005"):
                ledger.append("transfer_reference", **reference)
            ledger.append(
                "transfer_reference",
                reference="unrestored input (test)",
                **score(np.tile([1, 0.9, 0.6], (10, 1)) + well, BLURS, 1),
            )
            for trial, label in enumerate(points):
                for replicate in range(0 if unanswered and trial == 1 else 3):
                    values = np.tile(
                        [1, 0.9, 0.9 * (1 - (lost if trial != 1 else 0.3))], (10, 1)
                    ) + noise(3)
                    ledger.append(
                        "transfer",
                        trial=trial,
                        replicate=replicate,
                        label=label,
                        **score(values, BLURS, 1),
                    )
        ledger.append("test_opened", opening=0)
        ledger.append("study_end", run=0, status="finished", problems=[])
    return load_study(folder)


def write_examples(folder: Path, *, size: int) -> None:
    """Leave example restorations as a trial does."""
    folder.mkdir(parents=True)
    rng = np.random.default_rng(size)
    for name, levels in (("examples.npz", PLANES), ("transfer_examples.npz", BLURS)):
        images = rng.integers(0, 255, (2, len(levels), size, size)).astype(np.uint8)
        arrays = {"defocused": images[0], "restored": images[1], "in_focus": images[0, 0]}
        np.savez(folder / name, **arrays, levels=np.array(levels), field=np.array("w0"))


def stitching(rng: np.random.Generator, excess: float) -> dict[str, Any]:
    """Errors `excess` higher at the seams than inside when stitched, and .002 higher when not."""
    inside = rng.normal(0.05, 0.001, 10)
    border = {"stitched": (inside + excess).tolist(), "whole": (inside + 0.002).tolist()}
    same = {mode: inside.tolist() for mode in ("stitched", "whole")}
    return {
        "levels": [0, 33],
        "fields": WELLS,
        "wells": WELLS,
        "patch_size": 128,
        "border_px": 8,
        "border": border,
        "inside": same,
        "profile": {"stitched": [0.06, 0.05], "whole": [0.052, 0.05]},
        "ssim": same,
        "psnr": same,
    }


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (0.80, 0.8764, "worse"),
        (0.80, 0.8766, "same"),
        (0.8774, 0.9, "same"),
        (0.8776, 0.9, "better"),
    ],
)
def test_a_verdict_knows_rounding_and_the_interval(low: float, high: float, expected: str) -> None:
    ours, printed = Estimate((low + high) / 2, low, high, 0.5, 10, 3), (0.8765, 0.8775)  # as 0.877
    assert judge_cell("ssim", ours, printed, reason="").verdict == expected
    turned = {"worse": "better", "better": "worse", "same": "same"}[expected]
    assert judge_cell("nrmse", ours, printed, reason="").verdict == turned  # lower is better
    not_comparable = Judgement(Verdict.NOT_COMPARABLE, "simulated")
    assert judge_cell("ssim", ours, printed, reason="simulated") == not_comparable
    few = judge_cell("ssim", Estimate(0.9, np.nan, np.nan, np.nan, 5, 1), printed, reason="")
    assert few == Judgement(Verdict.NONE, "5 wells, 8 are needed")


def test_a_mean_and_its_interval_against_scipy() -> None:
    values = np.random.default_rng(2).normal(0.5, 0.1, 12)
    found = estimate(pd.DataFrame({"well": np.arange(12), "replicate": 0, "ssim": values}))
    low, high = stats.t.interval(0.95, 11, loc=values.mean(), scale=stats.sem(values))
    assert (found.mean, found.low, found.high) == pytest.approx((values.mean(), low, high))


def test_wells_count_alike_however_many_images_and_seeds_they_have() -> None:
    rng = np.random.default_rng(3)
    rows = pd.DataFrame(
        {
            "well": rng.choice(list("hgfedcba"), 200),
            "replicate": rng.integers(0, 3, 200),
            "ssim": rng.random(200),
        }
    )
    rows = rows[(rows["well"] != "c") | (rows["replicate"] != 1)]  # a seed that did not see a well
    rows.loc[rows.index[:20], "ssim"] = np.nan
    pivot = rows.pivot_table(index="well", columns="replicate", values="ssim")
    found = estimate(rows)
    assert (found.mean, found.wells, found.seeds) == (
        pytest.approx(pivot.mean(axis=1).mean()),
        8,
        3,
    )
    apart = estimate(
        rows, rows[rows["well"] != "a"].assign(ssim=lambda table: table["ssim"] - 0.25)
    )
    assert (apart.mean, apart.wells) == (pytest.approx(0.25), 7)  # paired by well


def test_cells_beside_the_paper(tmp_path: Path) -> None:
    study = make_study(tmp_path / "real")
    table = average_table(study).set_index(["label", "metric"])
    cell = table.loc[("paper's whole image", "psnr")]
    assert (cell["paper"], cell["verdict"]) == ("30.277", Judgement(Verdict.SAME))
    worse = Judgement(Verdict.WORSE)
    assert table.loc[("paper's split image", "psnr"), "verdict"] == worse  # 20 against 26.905 dB
    assert table.loc[("paper's whole image", "mse"), "verdict"] == worse  # .5 against .001
    assert table.loc[("paper's whole image", "ssim_range2"), "paper"] == "0.876"
    assert table.loc[("unrestored input (test)", "ssim"), "verdict"] is None
    assert table.loc[("unrestored input at 768 px (test)", "ssim"), "ours"] == pytest.approx(
        0.7 - 0.15 / 4, abs=0.01
    )
    assert table.loc[("paper's whole image", "ssim"), "ours"] == pytest.approx(
        0.8 - 0.15 / 4, abs=0.01
    )
    levels = level_table(study).set_index(["label", "level", "metric"])
    assert levels.loc[("paper's whole image", 32, "ssim"), "paper"] == "0.755"
    assert levels.loc[("paper's whole image", 32, "mse"), "paper"] == "0.003"
    assert 16 not in level_table(study)["level"].unique()
    harm = in_focus_table(study).set_index(["label", "metric"])
    assert harm.loc[("paper's whole image", "ssim"), "ours"] == pytest.approx(0.9, abs=0.01)


@pytest.mark.parametrize(
    ("header", "simulated", "family", "reason"),
    [
        ({}, None, "split", ""),
        ({}, "by a Gaussian", "split", "simulated"),
        ({"scaled_down": True}, None, "whole", "scaled down"),
        (
            {"dataset": FAITHFUL["dataset"] | {"resize": "antialiased"}},
            None,
            "whole",
            "resized by area mean",
        ),
        ({"dataset": FAITHFUL["dataset"] | {"channel": "w2"}}, None, "whole", "channel w2"),
        ({"training": FAITHFUL["training"] | {"epochs": 2}}, None, "whole", "2 epochs"),
        (
            {"training": FAITHFUL["training"] | {"patches_per_image": 1}},
            None,
            "split",
            "patches were sampled",
        ),
        ({"training": FAITHFUL["training"] | {"patches_per_image": 1}}, None, "whole", ""),
        ({"evaluation": {"inference": "whole"}}, None, "split", "not stitched"),
    ],
)
def test_a_number_is_judged_only_where_it_was_made_as_the_papers(
    header: dict[str, Any], simulated: str | None, family: str, reason: str, tmp_path: Path
) -> None:
    study = make_study(tmp_path / "s", simulated=simulated, **header)
    assert not_comparable(study, family, average=True) == reason
    judged = {str(verdict) for verdict in average_table(study)["verdict"]}
    assert (f"not comparable: {reason}" in judged) == bool(reason)


@pytest.mark.parametrize(
    ("changes", "claim", "agrees"),
    [
        ({}, 0, "agrees"),
        ({"gap": -0.05}, 0, "differs"),
        ({"gap": 0.0}, 0, "open"),
        ({"gap": 0.3}, 0, "differs in size"),
        ({"collapse": True}, 0, "not measured"),
        ({}, 1, "agrees"),
        ({"shape": {0: -0.1, 7: 0.0, 16: 0.1, 25: 0.0, 32: -0.1}}, 1, "open"),
        ({"shape": {0: -0.1, 7: 0.0, 16: 0.1, 25: 0.0, 32: 0.05}}, 1, "differs"),
        ({"simulated": "by a Gaussian"}, 1, "not measured"),
        ({}, 2, "not measured"),
        ({"transfer": True}, 3, "agrees"),
        ({"transfer": True, "lost": 0.2}, 3, "differs"),
        ({}, 3, "agrees"),
        ({"brighter": -0.02}, 3, "differs"),
        ({"brighter": 0.0}, 3, "open"),
        ({"collapse": True}, 3, "not measured"),
        ({}, 4, "agrees"),
        ({"excess": 0.001}, 4, "differs"),
        ({"collapse": True}, 4, "not measured"),
    ],
)
def test_claims_are_judged_by_their_intervals(
    changes: dict[str, Any], claim: int, agrees: str, tmp_path: Path
) -> None:
    found = check_claims(make_study(tmp_path / "s", **changes))[claim]
    assert found.agreement == agrees, found


def test_claims_name_their_numbers(tmp_path: Path) -> None:
    found = check_claims(make_study(tmp_path / "s", transfer=True))
    assert "+0.05" in found[0].measured
    assert "BBBC005" in found[1].claim
    assert "10.0% lost" in found[3].measured
    assert "30.1% lost" in found[3].measured
    assert "+0.00800" in found[5].measured  # (.01 - 0) - (.002 - 0)


def test_the_research_questions_are_answered_beside_do_nothing(tmp_path: Path) -> None:
    (_, first), (_, second) = answers(make_study(tmp_path / "s", transfer=True, searched=True))
    assert "+0.100 (95 % interval" in first[0]
    assert "better at 4 of 4, worse at 0, inconclusive at 0" in first[0]
    assert any(sentence.startswith("trial 0002") for sentence in first)
    assert "scored on BBBC005" in second[0]
    assert any(
        sentence.startswith("trial 0002") for sentence in second
    )  # the search's winner is transferred, too
    (_, _), (_, none) = answers(make_study(tmp_path / "without"))
    assert "Not measured" in none[0]


def test_a_transfer_that_is_not_finished_is_reported_as_far_as_it_is(tmp_path: Path) -> None:
    study = make_study(tmp_path / "s", transfer=True, unanswered=True)
    assert study.transfer is not None
    assert set(average_table(study.transfer)["label"]) == {
        "paper's whole image",
        "unrestored input (test)",
    }
    assert check_claims(study)[1].agreement == "not measured"
    assert write_report(study).is_file()


@pytest.mark.parametrize(("by", "told"), [(0.02, "fields leak"), (0.0, "no leak can be told")])
def test_the_leak_is_measured_on_the_images_that_both_hold_out(
    by: float, told: str, tmp_path: Path
) -> None:
    study = make_study(tmp_path / "s", leak_by=by)
    found = measure_leak(study)
    assert found is not None
    held_out = [divmod(index, 5) for index in range(0, 50, 4)]
    assert found.images == sum(PLANES[level] != 16 for _, level in held_out)
    assert found.rows["ssim"][2].mean == pytest.approx(by, abs=0.002)
    assert told in found.text
    assert measure_leak(make_study(tmp_path / "none")) is None


def test_the_report_holds_the_transfer_the_seams_and_the_leak(tmp_path: Path) -> None:
    study = make_study(tmp_path / "s", transfer=True, leak_by=0.02)
    page = write_report(study).read_text()
    for text in (
        "Table 2: averages",
        "Table 5: by blur level F",
        "Figure 3 of the paper",
        "bordering effect of stitching",
        "split leaks",
    ):
        assert text in page
    assert (
        page.count('class="plotly-graph-div"') == 8
    )  # SSIM and PSNR, at the evaluation resolution and at own size, here and there
    assert {
        "paper_table_1",
        "paper_table_3-4",
        "transfer_paper_table_2",
        "transfer_paper_table_5",
        "stitching",
        "claims",
    } <= set(result_tables(study))


def test_the_papers_pictures_are_made_again_and_move(tmp_path: Path) -> None:
    study = make_study(tmp_path / "s", transfer=True, searched=True, examples=True)
    page = write_report(study).read_text()
    for number in ("4", "5", "6", "9"):
        assert f"Figure {number} of the paper made again" in page
        assert (study.folder / "figures" / f"figure-{number}.png").is_file()
    assert "confirm-0-0/examples.npz" in page
    titles = [
        title
        for title, _ in panels(
            [(label, examples_of(study, trial)) for trial, label in enumerate(POINTS)], 25
        )
    ]
    assert titles == ["defocused", "best affine fit", *POINTS, "in focus"]
    assert page.count('class="plotly-graph-div"') == 8 + 2  # curves, and pictures with a slider


def test_the_best_affine_fit_of_a_picture_against_least_squares() -> None:
    rng = np.random.default_rng(0)
    seen, focus = (
        rng.integers(0, 200, (1, 9, 9)).astype(np.uint8),
        rng.integers(0, 255, (9, 9)).astype(np.uint8),
    )
    arrays = {"defocused": seen, "restored": seen, "in_focus": focus, "levels": np.array([3])}
    fitted = dict(panels([("a", arrays)], 3))["best affine fit"]
    slope, offset = np.polyfit(seen.ravel().astype(float), focus.ravel().astype(float), 1)
    np.testing.assert_allclose(fitted, np.clip(slope * seen[0] + offset, 0, 255), atol=0.5001)


def examples_of(study: Study, trial: int) -> dict[str, np.ndarray]:
    found = load_examples(study.folder / "trials" / f"confirm-{trial}-0")
    assert found is not None
    return found
