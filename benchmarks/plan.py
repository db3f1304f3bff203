"""What ``refocus plan`` says that a study takes, beside what it then took.

``python benchmarks/plan.py --config smoke [any option of a study]``. Both run in an empty folder,
one after the other, as programs of their own; give them the machine alone.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def seconds(text: str) -> float:
    """Return a duration that a program wrote: 4:05 min, 3 h 20 min."""
    hours = re.fullmatch(r"(\d+) h (\d+) min", text)
    if hours:
        return 3600 * int(hours[1]) + 60 * int(hours[2])
    minutes = re.fullmatch(r"(\d+):(\d+) min", text)
    assert minutes is not None, text
    return 60 * int(minutes[1]) + int(minutes[2])


def run(*command: str) -> tuple[str, float]:
    """Run a program; return what it wrote, and its seconds."""
    began = time.perf_counter()
    done = subprocess.run(
        [sys.executable, *command], cwd=ROOT, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise SystemExit(done.stdout + done.stderr)
    return done.stdout, time.perf_counter() - began


def main(options: list[str]) -> None:
    """Plan, run, and print both."""
    with tempfile.TemporaryDirectory() as folder:
        where = ["--storage", str(Path(folder) / "results"), "--name", "planned"]
        plan, planning_s = run("-m", "study.cli", "plan", *options, *where)
        print(plan, flush=True)
        total = re.search(r"^in all +([^,]+),", plan, re.MULTILINE)
        assert total is not None, plan
        planned = seconds(total[1])
        _, took = run("study/run.py", *options, *where)
    print(
        f"planned {planned:.0f} s (planning took {planning_s:.0f} s), took {took:.0f} s:"
        f" {took / planned:.2f} of it"
    )


if __name__ == "__main__":
    main(sys.argv[1:])
