"""The tiny study with a gate: no trial reports its last epoch until a file lies in the study's
folder. So a test decides how long trials run beside each other.
"""

from __future__ import annotations

import dataclasses
import sys
import time
from collections.abc import Generator
from pathlib import Path

from study.trial.task import EpochReport, TrialTask
from tests import tiny_trial
from tests.tiny_study import TINY

GATE = "gate_is_open"


def run_trial(task: TrialTask) -> Generator[EpochReport]:
    """Train as the tiny trial does, and wait at the gate."""
    gate = Path(task.folder).parents[1] / GATE
    for report in tiny_trial.run_trial(task):
        while report.score is not None and not gate.exists():
            time.sleep(0.05)
        yield report


GATED = dataclasses.replace(TINY, run_trial=run_trial)

if __name__ == "__main__":
    from study.run import main  # not above: workers import this module
    from tests.gated_study import GATED as CODE  # by its name, which workers know it by

    sys.exit(main(code=CODE))
