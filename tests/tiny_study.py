"""The program with the tests' tiny trial in the place of Keras: ``python tests/tiny_study.py`` and
what ``study/run.py`` takes.
"""

from __future__ import annotations

import sys
from pathlib import Path

if not __package__:
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from study.tune.trainable import TrialCode
from tests import tiny_trial

TINY = TrialCode(
    set_up_process=tiny_trial.set_up_process,
    run_trial=tiny_trial.run_trial,
    answer_question=tiny_trial.answer_question,
    time_steps=tiny_trial.time_steps,
)

if __name__ == "__main__":
    from study.run import main  # not above: workers import this module

    sys.exit(main(code=TINY))
