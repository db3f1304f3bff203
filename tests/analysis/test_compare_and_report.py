"""A made-up study whose answers are known."""

from __future__ import annotations

import dataclasses
import html
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pandas as pd
import pytest
from scipy import stats

from analysis.conclusion import conclude
from analysis.differences import against_each, differences
from analysis.load import load_study
from analysis.outcome_table import by_level, front, ranking, winner
from analysis.paper_deviations import deviations
from analysis.paper_tables import reference_curves
from analysis.report import main, outcome_text, write_report
from analysis.search_report import common_rung, rung_agreement
from analysis.statistics import _sign_flip, holm
from study.config import DatasetConfig, SearchConfig, SimulateConfig, StudyConfig
from study.errors import StudyError
from study.record.ledger import Ledger

LEVELS = [0, 16, 33]
OTHERS = {"psnr": [20.0, float("inf"), 30.0], "nrmse": [0.3, 0.0, 0.2], "mse": [0.1, 0.0, 0.2]}
POINTS = [
    {"family": "whole", "depth": 2, "image_size": 128},
    {"family": "split", "depth": 3, "image_size": 768},
    {"family": "whole", "depth": 4, "image_size": 128},
]
LABELS = ["paper's whole image", "paper's split image", "trial 0002"]


def score(ssim: np.ndarray, eval_split: str) -> dict[str, Any]:
    """A score whose SSIM by field is given; by level it is 0.1 below at z 0 and 0.1 above at z
    33.
    """
    by_image = {name: np.tile(row, (len(ssim), 1)).tolist() for name, row in OTHERS.items()}
    by_image["ssim"] = [[value - 0.1, 1.0, value + 0.1] for value in ssim.tolist()]
    return {
        "eval_split": eval_split,
        "levels": LEVELS,
        "evaluation": by_image,
        "own": by_image | dict.fromkeys(("rmse", "ssim_range2", "cells_bias"), by_image["ssim"]),
        "fields": [f"f{index}" for index in range(len(ssim))],
        "wells": [f"w{index // 2}" for index in range(len(ssim))],
        "summary": {
            "objective": float(ssim.mean()),
            "ssim": float(ssim.mean()),
            "psnr": 25.0,
            "nrmse": 0.25,
            "mse": 0.15,
        },
    }


def write_study(
    folder: Path,
    *,
    wells: int,
    gain: float,
    scaled_down: bool = False,
    objectives: tuple[str, ...] = ("ssim",),
) -> dict[str, np.ndarray]:
    """Write a study in which `trial 0002` is `gain` better than the better baseline; return the
    test SSIM by field.
    """
    config = StudyConfig(
        name=folder.name,
        scaled_down=scaled_down,
        dataset=DatasetConfig(simulate=SimulateConfig(wells=wells)),
        search=SearchConfig(objectives=list(objectives)),
    )
    rng = np.random.default_rng(0)
    difficulty = rng.normal(0, 0.05, 2 * wells)
    used = {}
    with Ledger(folder) as ledger:
        ledger.append(
            "study",
            uid="u",
            name=folder.name,
            config=config.to_dict(),
            split={},
            store={"kind": "bbbc006", "levels": LEVELS, "fingerprint": "abc123", "source": "raw"},
            images={
                "title": "BBBC006",
                "simulated": "procedural nuclei",
                "in_focus_level": 16,
                "level_title": "z-plane",
                "level_axis": "z",
                "shown_levels": [0, 33],
                "well_title": "well",
                "fields": {"test": 2 * wells},
                "wells": {"test": wells},
            },
            environment={
                "packages": {},
                "git": "0123abc",
                "python": "3.11",
                "backend": "tensorflow",
                "command": ["run.py"],
            },
        )
        for reference in reference_curves("bbbc006"):
            ledger.append("reference", **reference)
        ledger.append(
            "reference",
            reference="unrestored input (test)",
            **score(np.full(2 * wells, 0.4) + difficulty, "test"),
        )
        ledger.append("test_opened", opening=0)
        for phase, seeds in (("search", 1), ("confirm", 3)):
            for trial, ssim in enumerate((0.6, 0.7, 0.7 + gain)):
                for replicate in range(seeds):
                    key = {"phase": phase, "trial": trial, "replicate": replicate}
                    about = {
                        "label": LABELS[trial],
                        "baseline": trial < 2,
                        "hyperparameters": POINTS[trial],
                        "seed": 0,
                        "folder": "none",
                    }
                    ledger.append("trial", **key, **about)
                    metrics = {"loss": 0.1, "seconds": 0.98, "rung_seconds": 0.02}
                    cost = {
                        "parameters": 100.0 + trial,
                        "gflop": 0.25,
                        "latency_ms": 4.5,
                        "training_seconds": 10.0,
                    }
                    ledger.append(
                        "epoch",
                        **key,
                        epoch=1,
                        metrics=metrics | {"ssim": ssim, "objective": ssim},
                        cost=cost,
                    )
                    values = (
                        ssim + difficulty + rng.normal(0, 0.01, 2 * wells) + 0.002 * (replicate - 1)
                    )
                    used[f"{phase}/{trial}/{replicate}"] = values
                    ledger.append(
                        "score",
                        **key,
                        **score(values, "test" if phase == "confirm" else "validation"),
                        cost=cost,
                    )
                    ledger.append("trial_end", **key, status="finished", reason="", epoch=1)
        ledger.append("study_end", run=0, status="finished", problems=[])
    return used


def test_the_difference_and_its_interval_by_hand(tmp_path: Path) -> None:
    used = write_study(tmp_path / "clear", wells=10, gain=0.05)
    [found] = differences(load_study(tmp_path / "clear"))
    assert (found.candidate, found.baseline, found.wells, found.seeds) == (
        "trial 0002",
        "paper's split image",
        10,
        3,
    )
    ours, theirs = (
        np.stack([used[f"confirm/{trial}/{seed}"] for seed in range(3)])
        .reshape(3, 10, 2)
        .mean(axis=2)
        for trial in (2, 1)
    )
    by_well = ours.mean(axis=0) - theirs.mean(axis=0)
    parts = [
        by_well.var(ddof=1) / 10,
        ours.mean(axis=1).var(ddof=1) / 3,
        theirs.mean(axis=1).var(ddof=1) / 3,
    ]
    twice = 0.0  # the residual of a two-way analysis of variance, by sums of squares
    for table in (ours, theirs):
        squares = table.var() * 30 - table.mean(axis=1).var() * 30 - table.mean(axis=0).var() * 30
        twice += squares / (9 * 2) / 30
    variance = sum(parts) - twice
    freedom = max(2, variance**2 / (parts[0] ** 2 / 9 + parts[1] ** 2 / 2 + parts[2] ** 2 / 2))
    reach = stats.t.ppf(0.975, freedom) * np.sqrt(variance)
    assert (found.mean, found.low, found.high) == pytest.approx(
        (by_well.mean(), by_well.mean() - reach, by_well.mean() + reach)
    )
    of_t = 2 * stats.t.sf(by_well.mean() / np.sqrt(variance), freedom)
    assert found.p == pytest.approx(
        max(of_t, 2 / 2**10)
    )  # every well is better: only the two extreme sign patterns reach it
    assert found.text == "better than the better baseline"


def test_no_difference_is_said_to_be_none(tmp_path: Path) -> None:
    write_study(tmp_path / "none", wells=10, gain=0.0)
    [found] = differences(load_study(tmp_path / "none"))
    assert found.low < 0 < found.high
    assert found.text == "inconclusive against the better baseline"


def test_too_few_wells_give_no_verdict(tmp_path: Path) -> None:
    write_study(tmp_path / "few", wells=7, gain=0.05)
    [found] = differences(load_study(tmp_path / "few"))
    assert np.isnan(found.low)
    assert found.text.startswith("no verdict: 7 wells")


def test_sign_flips_against_scipy() -> None:
    values = np.random.default_rng(1).normal(0.3, 1, 9)
    exact = stats.permutation_test(
        (values,), np.mean, permutation_type="samples", n_resamples=np.inf
    )
    assert _sign_flip(values) == pytest.approx(exact.pvalue)


def test_holm_by_hand() -> None:
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.01, np.nan, 0.03]) == pytest.approx([0.03, np.nan, 0.06], nan_ok=True)


def test_ranking_curves_and_the_paper(tmp_path: Path) -> None:
    write_study(tmp_path / "s", wells=9, gain=0.05, scaled_down=True)
    study = load_study(tmp_path / "s")
    assert differences(study)[0].text.startswith("no verdict: scaled down")
    assert winner(study) == 2
    assert list(ranking(study)["role"]) == ["winner", "baseline", "baseline", "reference"]
    assert list(ranking(study)["seeds"]) == [3, 3, 3, 0]
    curves = by_level(study, "ssim")
    assert list(curves.index) == [
        "trial 0002",
        LABELS[1],
        LABELS[0],
        "unrestored input (test)",
        "paper: split image",
        "paper: whole image",
    ]
    assert curves.loc["paper: whole image", 33] == 0.686
    assert np.isnan(curves.loc["paper: whole image", 16])
    told = " ".join(deviations(study))
    assert all(text in told for text in ("procedural nuclei", "No claim may rest", "area mean"))
    assert "epochs instead" not in told


def test_the_report_is_one_file_with_all_that_was_asked_for(tmp_path: Path) -> None:
    write_study(tmp_path / "s", wells=9, gain=0.05, scaled_down=True)
    study = load_study(tmp_path / "s")
    page = html.unescape(write_report(study).read_text())
    assert all(
        text in page
        for text in (
            *LABELS,
            "unrestored input (test)",
            "abc123",
            "No claim may rest",
            "opened 1 time",
        )
    )
    assert all(
        text in page
        for text in (
            "Table 1",
            "Table 3-4",
            "Figure 2",
            "RQ1",
            "RQ2",
            "The paper’s claims",
            "not comparable: scaled down",
        )
    )
    assert (
        len(re.findall(r'<img [^>]+src="data:image/png;base64,', page)) == 6
    )  # SSIM and PSNR at the evaluation resolution and at own size, search, front
    assert re.findall(r'<(?:script|link|img|iframe)[^>]+(?:src|href)="(?!data:)', page) == []
    assert (study.folder / "tables" / "paper_table_1.csv").is_file()
    text = outcome_text(study)
    assert "trial 0002 (winner of the search)" in text
    assert "z 33" in text


def test_every_table_names_its_ledger_rows_and_the_rows_hold_the_numbers(tmp_path: Path) -> None:
    write_study(tmp_path / "s", wells=9, gain=0.05)
    study = load_study(tmp_path / "s")
    page = html.unescape(write_report(study).read_text())
    lines = (study.folder / "ledger.jsonl").read_text().splitlines()
    named = {
        (label, int(seed)): int(row)
        for row, label, seed in re.findall(r"(\d+) \(([^(),]+), seed (\d)\)", page)
    }
    assert len(named) == 9  # three configurations, three seeds
    for (label, seed), row in named.items():
        event = json.loads(lines[row - 1])
        assert (event["event"], event["phase"], LABELS[event["trial"]], event["replicate"]) == (
            "score",
            "confirm",
            label,
            seed,
        )


def test_the_same_ledger_gives_the_same_bytes(tmp_path: Path) -> None:
    write_study(tmp_path / "s", wells=9, gain=0.05)

    def build() -> dict[str, bytes]:
        report = write_report(load_study(tmp_path / "s"))
        return {
            path.name: path.read_bytes()
            for path in (report, *(tmp_path / "s" / "tables").iterdir())
        }

    first = build()
    assert len(first) > 6
    assert build() == first


def test_the_report_from_the_command_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_study(tmp_path / "s", wells=9, gain=0.05)
    assert main([str(tmp_path / "s")]) == 0
    assert "report.html" in capsys.readouterr().out
    assert main([str(tmp_path / "nothing")]) == 2
    assert "holds no study" in capsys.readouterr().err
    with Ledger(tmp_path / "begun") as ledger:
        ledger.append("study", name="begun", config={}, store={}, images={"in_focus_level": 16})
    with pytest.raises(StudyError, match="nothing to report yet"):
        write_report(load_study(tmp_path / "begun"))


def test_the_front_by_hand(tmp_path: Path) -> None:
    write_study(tmp_path / "s", wells=9, gain=0.05)
    study = load_study(tmp_path / "s")
    found = front(study, costs=["parameters"]).set_index("label")["on_front"].to_dict()
    assert found == {
        LABELS[0]: True,
        LABELS[1]: True,
        LABELS[2]: True,
    }  # each is better and larger than the one before
    dearer = study.trials.assign(parameters=[1.0, 3.0, 2.0] + [1.0] * (len(study.trials) - 3))
    found = front(dataclasses.replace(study, trials=dearer), costs=["parameters"]).set_index(
        "label"
    )["on_front"]
    assert not found[LABELS[1]]  # the third is better and cheaper
    assert front(study, costs=["unknown"]).empty


def test_the_front_is_in_the_outcome_where_costs_were_searched_for(tmp_path: Path) -> None:
    write_study(tmp_path / "s", wells=9, gain=0.05, objectives=("ssim", "parameters"))
    outcome = conclude(tmp_path / "s")
    named = re.findall(r"(\w[^;:]*) \(objective 0\.\d+, parameters (\d+)\)", outcome.tags["front"])
    assert named == [
        ("trial 0002", "102"),
        ("paper's split image", "101"),
        ("paper's whole image", "100"),
    ]
    assert outcome.tags["front"].startswith("Pareto front of ssim, parameters on validation: ")
    assert [path.name for path in outcome.artifacts] == [
        "report.html",
        "front.csv",
        "front-parameters.png",
    ]
    assert pd.read_csv(outcome.artifacts[1])["on_front"].tolist() == [True, True, True]
    assert outcome.tags["front"] in outcome_text(load_study(tmp_path / "s"))
    write_study(tmp_path / "one", wells=9, gain=0.05)
    assert "front" not in conclude(tmp_path / "one").tags


def test_costs_and_the_optimism_of_the_selection_stand_beside_the_quality(tmp_path: Path) -> None:
    write_study(tmp_path / "s", wells=9, gain=0.05)
    text = outcome_text(load_study(tmp_path / "s"))
    assert all(title in text for title in ("GFLOP an image", "ms an image", "training (s)"))
    assert re.search(r"trial 0002 \(winner of the search\) .* 102 +0.25 +4.5 +10", text)
    used = write_study(tmp_path / "again", wells=9, gain=0.05)
    search, confirm = (
        np.mean([used[f"{phase}/2/{seed}"] for seed in range(seeds)])
        for phase, seeds in (("search", 1), ("confirm", 3))
    )
    assert (
        "SSIM on validation, where it was selected, and on test, where it was confirmed: " in text
    )
    assert f"trial 0002 {search:.4f} and {confirm:.4f}" in text


def test_the_rung_score_is_held_against_the_full_one(tmp_path: Path) -> None:
    write_study(tmp_path / "s", wells=9, gain=0.05)
    agreed, count, share = rung_agreement(load_study(tmp_path / "s"))
    assert (agreed, count) == (pytest.approx(1.0), 3)
    assert share == pytest.approx(0.02)


def test_the_winner_is_held_against_each_other_at_every_level(tmp_path: Path) -> None:
    used = write_study(tmp_path / "s", wells=9, gain=0.05)
    study = load_study(tmp_path / "s")
    table = against_each(study, LABELS[2]).set_index(["other", "level"])
    ours, theirs = (
        np.mean([used[f"confirm/{trial}/{seed}"] for seed in range(3)]) for trial in (2, 0)
    )
    assert table.loc[(LABELS[0], 0), "mean"] == pytest.approx(
        ours - theirs
    )  # every level is shifted alike
    assert set(table.loc[LABELS[0]].index.dropna()) == {0, 33}
    assert table["seeds"].max() == 3
    assert table.loc[("unrestored input (test)", 33), "low"] > 0
    assert "trial 0002 less every other" in write_report(study).read_text()


def test_what_mattered_is_told_from_the_scores_that_all_trials_have(tmp_path: Path) -> None:
    write_study(tmp_path / "s", wells=9, gain=0.05)
    study = load_study(tmp_path / "s")
    assert common_rung(study) is None  # no Optuna study was left
    held = optuna.create_study(
        storage=f"sqlite:///{tmp_path / 's' / 'optuna.db'}", study_name="s", direction="maximize"
    )
    numbers = range(12)
    for number in numbers:
        trial = held.ask()
        trial.set_user_attr("label", "earlier study" if number < 2 else "searched")
        trial.suggest_categorical("family", ["whole"])
        trial.suggest_int("depth", 1, 5)
        trial.suggest_float("rate", 0.1, 0.9)
    own = [trial.params["depth"] for trial in held.trials[2:]]
    epochs = pd.DataFrame(
        {
            "phase": "search",
            "trial": range(10),
            "epoch": 1,
            "objective": [0.1 * depth for depth in own],
        }
    )
    header = study.header | {
        "config": (
            study.header["config"] | {"search": {"grace_epochs": 4}, "training": {"epochs": 1}}
        )
    }
    found = common_rung(dataclasses.replace(study, epochs=epochs, header=header))
    assert found is not None
    rung, epoch = found
    assert epoch == 1  # the budget ends before the first rung
    assert [(trial.params["depth"], trial.value) for trial in rung.trials] == [
        (depth, pytest.approx(0.1 * depth)) for depth in own
    ]
    late = epochs.assign(epoch=7)
    assert common_rung(dataclasses.replace(study, epochs=late, header=header)) is None
