"""The benchmarks run: small, and where no figure of theirs is looked at."""

from __future__ import annotations

import dataclasses
import json
import runpy
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest

from search_spaces import SPACES
from search_spaces.bridge import OptunaHyperParameters
from search_spaces.sizes import Sizes
from study.config import EvaluationConfig, StudyConfig
from study.data.store import Store
from study.models.autoencoder import build
from study.record.identities import TrialStatus
from study.trial.checkpoints import STOPPED, WEIGHTS, save_weights
from tests.study.record.made_up_events import (
    begun,
    ended,
    epoch,
    search,
    study,
    write_events,
)

BENCHMARKS = Path(__file__).resolve().parents[1] / "benchmarks"


def run_program(name: str, *options: str) -> None:
    """Run a benchmark to its end, in a process of its own."""
    done = subprocess.run(
        [sys.executable, str(BENCHMARKS / name), *options],
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.slow
def test_the_gpu_benchmark_trains_times_and_runs_trials_at_once(tmp_path: Path) -> None:
    result = tmp_path / "gpu.json"
    options = ["--scaled-down", "--pairs", "33", "--epochs", "2"]
    options += ["--at-once", "2", "--epochs-at-once", "1", "--json", str(result)]
    run_program("gpu.py", *options)
    measured = json.loads(result.read_text())
    assert measured["whole"]["pairs"] == 33  # one field; a second one is scored
    assert measured["whole"]["images_per_second"] > 0
    assert 0 < measured["whole"]["ssim"] < 1
    # 20,262 pairs of 36 patches in batches of 16 are 45,590 steps
    assert measured["split"]["hours_of_50_epochs"] == pytest.approx(
        50 * 45_590 * measured["split"]["seconds_per_step"] / 3600
    )
    assert [row["trials"] for row in measured["at_once"]] == [2]


@pytest.mark.slow
def test_a_backend_is_no_distance_from_itself(tmp_path: Path) -> None:
    result = tmp_path / "backends.json"
    options = ["--backends", "tensorflow", "tensorflow", "--scaled-down"]
    options += ["--epochs", "1", "--json", str(result)]
    run_program("backends.py", *options)
    rows = json.loads(result.read_text())
    assert [row["baseline"] for row in rows] == ["whole", "split", "whole", "split"]
    assert all(
        row[name] == 0 for row in rows for name in ("before", "loss", "after", "ssim", "weights")
    )


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    """Runs a benchmark in this process; returns what it wrote."""

    def benchmark(name: str, *options: object) -> Any:
        result = tmp_path / f"{name}.json"
        command = [str(BENCHMARKS / f"{name}.py"), *map(str, options), "--json", str(result)]
        monkeypatch.setattr(sys, "argv", command)
        monkeypatch.setattr(sys, "path", [*sys.path])  # a benchmark extends it
        runpy.run_path(command[0], run_name="__main__")
        return json.loads(result.read_text())

    return benchmark


def test_the_record_is_written_read_and_mirrored(
    run: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rates = run("record", "--trials", "2", "--by-steps", "1", "--folder", tmp_path / "made")
    assert all(rate > 0 for rate in rates.values())
    # a trial begins, has 50 epochs and a score, and ends; besides the study and two printed curves
    assert f"its {2 * 53 + 2 + 2} events are read" in capsys.readouterr().out


def test_the_coverage_of_intervals_is_counted(run: Any) -> None:
    rows = run("coverage", "--repeats", "2")
    # at 4 settings: 3 gains, 3 about the margin, 2 collapses, 2 worst levels, and a family; 6 of
    # splits
    assert len(rows) == 4 * (3 + 3 + 2 + 2 + 1) + 6
    verdicts = ("better", "worse", "same", "inconclusive")
    for row in rows:
        if row["case"] == "family":
            assert 0 <= row["called"] <= 1
        else:
            assert sum(row[verdict] for verdict in verdicts) == pytest.approx(1)
    collapsed = [row for row in rows if "collapsed" in row["case"]]
    assert all(row["same"] == row["better"] == 0 for row in collapsed)


def test_searchers_race_on_curves_that_were_recorded(run: Any, tmp_path: Path) -> None:
    curves = tmp_path / "curves.jsonl"
    drawn = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    with curves.open("w") as file:
        for number in range(24):
            asked = OptunaHyperParameters(drawn.ask())
            hyperparameters = SPACES["beyond"](asked, Sizes([16], 32, [16], [16]))
            best = 0.5 + 0.04 * hyperparameters["depth"] + 0.001 * (number % 7)
            curve = [best * (1 - 0.5**epoch) for epoch in range(1, 10)] if number else []
            file.write(json.dumps({"hyperparameters": hyperparameters, "curve": curve}) + "\n")
    options = ["--curves", curves, "--earlier", curves, "--seeds", 1, "--trials", 5]
    rows = run("searchers", "race", *options)
    arms = {row["arm"] for row in rows}
    assert {"tpe", "random", "tpe, warm from other images"} < arms
    for arm in arms:
        progress = [(row["epochs"], row["best"]) for row in rows if row["arm"] == arm]
        assert len(progress) == 5  # trials, without the baselines
        assert progress == sorted(progress)


def test_rung_scores_are_ranked_with_the_weights_that_trials_left(
    run: Any, store: Store, tmp_path: Path
) -> None:
    held = dataclasses.replace(
        study("ranked"),
        config=StudyConfig(evaluation=EvaluationConfig(resolution=32)),
        store=dataclasses.replace(study().store, folder=str(store.folder)),
        split={"validation": store.fields[:2]},
    )
    network = {"family": "whole", "depth": 1, "filters": 2, "growth": 1, "loss": "l1"}
    events: list[Any] = [held]
    for number, (size, kept) in enumerate([(32, WEIGHTS), (32, STOPPED), (64, WEIGHTS), (32, "")]):
        trial, hyperparameters = search(number), {**network, "image_size": size}
        events.append(begun(trial, hyperparameters=hyperparameters))
        events.append(epoch(trial, 1, seconds=2.0, rung_seconds=1.0))
        events.append(ended(trial, TrialStatus.STOPPED))
        if kept:
            folder = tmp_path / "study" / "trials" / f"{number:04d}"
            save_weights(folder / kept, build(hyperparameters))
    folder = write_events(tmp_path / "study", events)
    rows = run("rung_score", folder, "--images", "2", "8", "--largest", "32")
    # one sees larger images, one left no weights
    assert [(row["trial"], row["family"], row["epochs"]) for row in rows] == [
        (0, "whole", 1),
        (1, "whole", 1),
    ]
    for row in rows:  # two fields at four defocused levels are eight images, and all
        np.testing.assert_allclose(row["score 8"], row["score 0"])
