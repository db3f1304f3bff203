"""The benchmarks run: small, and where no figure of theirs is looked at."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).resolve().parents[1] / "benchmarks"


def run(name: str, *options: str) -> str:
    """Run a benchmark to its end; return what it printed."""
    done = subprocess.run(
        [sys.executable, str(BENCHMARKS / name), *options],
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.slow
def test_the_gpu_benchmark_trains_times_and_runs_trials_at_once(tmp_path: Path) -> None:
    result = tmp_path / "gpu.json"
    options = ["--scaled-down", "--pairs", "33", "--epochs", "2"]
    options += ["--at-once", "2", "--epochs-at-once", "1", "--json", str(result)]
    run("gpu.py", *options)
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
    run("backends.py", *options)
    rows = json.loads(result.read_text())
    assert [row["baseline"] for row in rows] == ["whole", "split", "whole", "split"]
    assert all(
        row[name] == 0 for row in rows for name in ("before", "loss", "after", "ssim", "weights")
    )
