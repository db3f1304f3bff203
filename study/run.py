"""Run a study: ``python study/run.py --config smoke``. Exit status 0: done; 1: the study is not
complete; 2: bad input; 130: interrupted.
"""

from __future__ import annotations

import functools
import shlex
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING
from urllib.parse import quote

if not __package__:
    # started by its path, perhaps uninstalled: this folder must not hide other packages' modules
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from analysis.conclusion import conclude, summarize
from analysis.figures import draw_trial
from analysis.paper_tables import reference_curves
from study.command_line import parse_run
from study.config import StudyConfig
from study.errors import StudyError
from study.libraries import quiet_import
from study.programs import call, call_refocus, call_run

if TYPE_CHECKING:
    from study.tune.trainable import TrialCode


def main(arguments: Sequence[str] | None = None, *, code: TrialCode | None = None) -> int:
    """Parse, run the study, print the outcome; return the exit status.

    Parameters
    ----------
    arguments : sequence of str, optional
        The command line; the program's own if not given.
    code : TrialCode, optional
        What trains, scores and asks networks in the workers; Keras if not given.
    """
    started = time.monotonic()

    def log(line: str) -> None:
        minutes, seconds = divmod(int(time.monotonic() - started), 60)
        print(f"[{minutes:02d}:{seconds:02d}] {line}", flush=True)

    config: StudyConfig | None = None
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        config, resume = parse_run(sys.argv[1:] if arguments is None else arguments)
        log(f"study {config.name} in {config.folder}")
        # after the configuration: this takes seconds, a typing error is told at once
        with quiet_import():
            from study.tune.trainable import KERAS
            from study.workflow.study import run_study
        result = run_study(
            config,
            log=log,
            curves=reference_curves,
            draw=draw_trial,
            summarize=summarize,
            conclude=functools.partial(conclude, log=print),
            resume=resume,
            code=code or KERAS,
        )
    except StudyError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt as interrupt:
        where = (
            f"; what was learned until then is in {config.folder}\nto resume: {call_run()} --resume"
            f" {shlex.quote(str(config.folder))}"
            if config
            else ""
        )
        print(f"\n{interrupt or 'interrupted'}{where}", file=sys.stderr)
        return 130
    _print_mlflow(config, result.experiment_id)
    print(
        "record:  {:.1f} s in the ledger, {:.1f} s in the mirror to MLflow beside the trials,"
        " {:.1f} s waited for it at the end".format(*result.record_seconds)
    )
    if result.unmirrored:
        why = f" ({result.mirror_failure})" if result.mirror_failure else ""
        print(
            f"         {result.unmirrored} events have not reached MLflow{why}; the ledger holds"
            f" them all: {call_refocus()} sync {shlex.quote(str(result.folder))}"
        )
    problems = [*result.problems, *([result.outcome.problem] if result.outcome else [])]
    for problem in filter(None, problems):
        print(f"problem: {problem}", file=sys.stderr)
    return 1 if any(problems) else 0


def _interrupt(number: int, frame: FrameType | None) -> None:
    """Take a request to end, which is what `ray job stop` sends, as Ctrl-C is taken."""
    # it comes to every process of a job, and may come again
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    handler = signal.getsignal(signal.SIGINT)
    if callable(handler):
        handler(number, frame)
    else:  # a shell has started it in the background, where Ctrl-C is not heard
        raise KeyboardInterrupt


def _print_mlflow(config: StudyConfig, experiment_id: str | None) -> None:
    """Say how to see the runs: the command that starts the server where there is none, and the page
    to open.
    """
    from study.workflow.setup import tracking_uri

    uri = tracking_uri(config)
    if uri is None or experiment_id is None:
        return
    address = uri
    if uri.startswith("sqlite:"):
        address = "http://127.0.0.1:5000"
        server = f"{call('mlflow')} server --backend-store-uri {shlex.quote(uri)} --port 5000"
        print(f"MLflow:  {server}")
    # sorted by a metric, for MLflow shows a study's runs folded under it otherwise
    shown = quote(f"tags.study = '{config.name}' and tags.eval_split != 'validation'")
    metric = config.search.objectives[0].rpartition("_")[2]
    order = quote(f"metrics.`mean/{metric}`", safe="")
    print(
        f"         {address}/#/experiments/{experiment_id}/runs?compareRunsMode=CHART"
        f"&searchFilter={shown}&orderByKey={order}&orderByAsc=false"
    )


if __name__ == "__main__":
    sys.exit(main())
