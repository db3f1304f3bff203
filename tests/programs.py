"""The program as a user starts it, in a process of its own, and small studies for it."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from tests.conftest import LEVELS

ROOT = Path(__file__).resolve().parents[1]
RUN = ROOT / "study" / "run.py"
TINY_RUN = ROOT / "tests" / "tiny_study.py"  # the same, but for what trains
SMALL = [
    "--config",
    "smoke",
    "--search.space",  # patches, the split-image family and the paper's space
    "paper",
    "--search.initial_configurations",
    "[]",
    "--search.max_tflop",
    "null",
    "--dataset.levels",
    str(LEVELS),
    "--training.epochs",
    "2",
    "--search.trials",
    "2",
    "--confirm.replicates",
    "1",
    "--sizes.whole",
    "[32]",
    "--sizes.split",
    "64",
    "--sizes.patches",
    "[32]",
    "--evaluation.resolution",
    "32",
]


def small(name: str, *, raw: Path, storage: Path) -> list[str]:
    """Return the options of a small study."""
    where = ["--name", name, "--dataset.root", str(raw), "--storage", str(storage)]
    return [*SMALL, *where, "--dataset.simulate.wells", "0"]


def run(
    *arguments: str, program: Path = RUN, folder: Path = ROOT
) -> subprocess.CompletedProcess[str]:
    """Run a program to its end, in a folder."""
    return subprocess.run(
        [sys.executable, str(program), *arguments],
        cwd=folder,
        env=_environment(),
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )


@contextlib.contextmanager
def started(
    command: list[str],
    output: Path,
    *,
    environment: dict[str, str] | None = None,
    folder: Path | None = None,
) -> Iterator[subprocess.Popen[bytes]]:
    """Start a program in a session of its own; end it, if it has not ended, when the block does."""
    with output.open("w") as out:
        process = subprocess.Popen(
            command,
            stdout=out,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            env=environment or _environment(),
            cwd=folder,
        )
    try:
        yield process
    finally:
        if process.poll() is None:
            process.terminate()
            process.wait(timeout=60)


def wait_for(condition: Callable[[], object], *, of: subprocess.Popen[bytes], log: Path) -> None:
    """Wait until something has happened to a program that runs."""
    end = time.monotonic() + 300
    while not condition():
        assert of.poll() is None, f"it ended before that: {log.read_text()}"
        assert time.monotonic() < end, f"it did not happen: {log.read_text()}"
        time.sleep(0.01)


def count(ledger: Path, *texts: str) -> int:
    """Return how many whole lines of a ledger, which may not be there yet, hold all these texts."""
    lines = ledger.read_bytes().splitlines(keepends=True) if ledger.exists() else []
    return sum(
        line.endswith(b"\n") and all(text.encode() in line for text in texts) for line in lines
    )


def _environment() -> dict[str, str]:
    """What a user's shell has: nothing of these tests."""
    ours = ("RAY_ADDRESS", "PYTHONPATH", "PYTHONWARNINGS")
    return {key: value for key, value in os.environ.items() if key not in ours}
