"""The benchmarks run: small, and where no figure of theirs is looked at."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).resolve().parents[1] / "benchmarks"


@pytest.mark.slow
def test_the_gpu_benchmark_trains_times_and_runs_trials_at_once(tmp_path: Path) -> None:
    result = tmp_path / "gpu.json"
    options = [
        "--pairs",
        "33",
        "--epochs",
        "2",
        "--at-once",
        "2",
        "--epochs-at-once",
        "1",
        "--json",
        str(result),
    ]
    done = subprocess.run(
        [sys.executable, BENCHMARKS / "gpu.py", *options],
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads(result.read_text())
    assert found["whole"]["pairs"] == 33  # one field; a second one is scored
    assert found["whole"]["images_per_second"] > 0
    assert 0 < found["whole"]["ssim"] < 1
    # 20,262 pairs of 36 patches in batches of 16 are 45,590 steps
    assert found["split"]["hours_of_50_epochs"] == pytest.approx(
        50 * 45_590 * found["split"]["seconds_per_step"] / 3600
    )
    assert [row["trials"] for row in found["at_once"]] == [2]


@pytest.mark.slow
def test_a_backend_is_no_distance_from_itself(tmp_path: Path) -> None:
    result = tmp_path / "backends.json"
    options = ["--backends", "tensorflow", "tensorflow", "--epochs", "1", "--json", str(result)]
    done = subprocess.run(
        [sys.executable, BENCHMARKS / "backends.py", *options],
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    rows = json.loads(result.read_text())
    assert [row["baseline"] for row in rows] == ["whole", "whole", "split", "split"]
    assert all(
        row[name] == 0 for row in rows for name in ("before", "loss", "after", "ssim", "weights")
    )
