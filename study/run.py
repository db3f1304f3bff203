"""Run a study: ``python study/run.py --config smoke``. Exit status 0: done; 1: the study is not complete; 2: bad input."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path

if not __package__:  # started by its path, perhaps uninstalled: this folder must not hide other packages' modules
    sys.path[0] = str(Path(__file__).resolve().parents[1])
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # before the first import of keras: it greets at length

from analysis.figures import draw_trial
from analysis.load import load_study
from analysis.paper import reference_curves
from analysis.report import outcome_text, write_report
from study.config import parse
from study.errors import StudyError
from study.search.setting import tracking_uri
from study.search.tuning import run_study


def main(arguments: Sequence[str] | None = None) -> int:
    """Parse, run the study, print the outcome; return the exit status."""
    started = time.monotonic()

    def say(line: str) -> None:
        minutes, seconds = divmod(int(time.monotonic() - started), 60)
        print(f"[{minutes:02d}:{seconds:02d}] {line}", flush=True)

    try:
        config = parse(sys.argv[1:] if arguments is None else arguments)
        result = run_study(config, say=say, references=reference_curves(config.dataset.kind), draw=draw_trial)
        study = load_study(result.folder)
        report = write_report(study)
    except StudyError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(f"\n{outcome_text(study)}\n")
    print(f"report:  {report}")
    if (uri := tracking_uri(config)) is not None:
        print(f"MLflow:  mlflow server --backend-store-uri {uri} --port 5000" if uri.startswith("sqlite") else f"MLflow:  {uri}")
        address = "http://127.0.0.1:5000" if uri.startswith("sqlite") else uri
        print(f"         then open {address}/#/experiments/{result.experiment_id}/runs?compareRunsMode=CHART")
    if result.unmirrored:
        print(f"         {result.unmirrored} events have not reached MLflow; the ledger in {result.folder} holds them all")
    for problem in result.problems:
        print(f"problem: {problem}", file=sys.stderr)
    return 1 if result.problems else 0


if __name__ == "__main__":
    sys.exit(main())
