"""Studies whose processes are killed, interrupted and asked to end: nothing is lost, and nothing is
done twice.
"""

from __future__ import annotations

import signal
import sys
from collections import Counter
from pathlib import Path

import optuna
import psutil
import pytest

from study.cli import main
from study.record.events import EpochEnded, StudyEnded, TestOpened, TrialEnded
from study.record.identities import Phase
from study.record.ledger import read_events, read_history
from tests.programs import ROOT, RUN, TINY_RUN, count, run, small, started, wait_for
from tests.servers import content

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]
EPOCH, TRIAL_END = '"event":"epoch"', '"event":"trial_end"'


def test_a_worker_that_is_killed_and_a_study_that_is_interrupted_continue_where_they_were(
    raw_folder: Path, tmp_path: Path
) -> None:
    options = small("cut", raw=raw_folder, storage=tmp_path)
    options += ["--training.epochs", "12", "--search.trials", "1", "--search.scheduler", "none"]
    options += ["--resources.cpus_per_trial", "2"]  # one worker at a time
    folder, log = tmp_path / "studies" / "cut", tmp_path / "log"
    ledger = folder / "ledger.jsonl"
    with started([sys.executable, str(RUN), *options], log) as program:
        wait_for(lambda: count(ledger, EPOCH), of=program, log=log)
        [worker] = [
            child
            for child in psutil.Process(program.pid).children(recursive=True)
            if "TrialActor" in " ".join(child.cmdline())
        ]
        worker.kill()
        wait_for(lambda: count(ledger, EPOCH, '"trial":1'), of=program, log=log)
        before_signal = len(log.read_text())  # Ray tells of the killed worker at length
        program.send_signal(signal.SIGINT)
        status = program.wait(timeout=120)
    said = log.read_text()[before_signal:]
    assert status == 130, said
    assert "was interrupted after" in said
    assert f"python study/run.py --resume {folder}" in said
    assert "Traceback" not in said
    before = read_events(folder)
    [first] = read_history(folder).finished(Phase.SEARCH)
    assert len({placed.pid for placed in first.placed}) == 2
    assert list(first.epochs) == list(range(1, 13))
    assert not any(isinstance(event, TestOpened | StudyEnded) for event in before)
    held = optuna.load_study(study_name="cut", storage=f"sqlite:///{folder / 'optuna.db'}").trials
    assert {trial.state.name for trial in held} == {"COMPLETE", "FAIL"}  # none is left RUNNING
    reasons = {trial.user_attrs["reason"] for trial in held if trial.state.name == "FAIL"}
    assert reasons == {"cancelled"}

    done = run("--resume", str(folder), folder=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    after = read_events(folder)
    assert after[: len(before)] == before
    epochs = Counter((event.run, event.epoch) for event in after if isinstance(event, EpochEnded))
    assert set(epochs.values()) == {1}
    assert len(epochs) == 6 * 12  # three searched, three confirmed
    ended = Counter(event.run for event in after if isinstance(event, TrialEnded))
    assert set(ended.values()) == {1}
    assert len(ended) == 6


def test_a_driver_that_is_killed_loses_nothing_and_does_nothing_twice(
    raw_folder: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "studies" / "killed"
    ledger, weights = folder / "ledger.jsonl", {}
    arguments = small("killed", raw=raw_folder, storage=tmp_path)
    # soon after a trial has ended, before MLflow can have heard of it
    for kill, awaited in enumerate(((EPOCH,), (TRIAL_END, '"phase":"confirm"'))):
        log = tmp_path / f"log{kill}"
        with started([sys.executable, str(TINY_RUN), *arguments], log) as program:
            wait_for(lambda awaited=awaited: count(ledger, *awaited), of=program, log=log)
            program.send_signal(signal.SIGKILL)
            program.wait(60)
        for path in finished_weights(folder):
            weights.setdefault(path, path.stat().st_mtime_ns)
        arguments = ["--resume", str(folder)]
    done = run(*arguments, program=TINY_RUN, folder=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    ended = Counter(event.run for event in read_events(folder) if isinstance(event, TrialEnded))
    assert set(ended.values()) == {1}
    assert len(ended) == 7
    assert weights, "no trial had finished at any kill"
    assert {path: path.stat().st_mtime_ns for path in weights} == weights  # none was trained again
    live, replay = f"sqlite:///{tmp_path}/mlflow.db", f"sqlite:///{tmp_path}/replay/mlflow.db"
    assert main(["sync", str(folder)]) == 0
    assert main(["sync", str(folder), "--uri", replay]) == 0
    held = content(live, "killed")
    assert held == content(replay, "killed")
    assert {value["status"] for value in held.values() if isinstance(value, dict)} == {"FINISHED"}


def finished_weights(folder: Path) -> list[Path]:
    """Return the weights of the trials that the ledger says have finished."""
    return [
        Path(run.begun.folder) / "weights.npz"
        for run in read_history(folder).runs.values()
        if run.finished
    ]


BUSY = """
import sys, time
sys.path.insert(0, {root!r})
from dataclasses import replace
from pathlib import Path
from study.run import main
from tests.tiny_study import TINY

def time_steps(task):  # without an end
    Path({mark!r}).touch()
    while True:
        time.sleep(1)

sys.exit(main(code=replace(TINY, time_steps=time_steps)))
"""


def test_a_request_to_end_is_heard_while_steps_are_timed(raw_folder: Path, tmp_path: Path) -> None:
    script, log, mark = tmp_path / "busy.py", tmp_path / "log", tmp_path / "timing"
    script.write_text(BUSY.format(root=str(ROOT), mark=str(mark)))
    options = small("ended", raw=raw_folder, storage=tmp_path)
    command = [sys.executable, str(script), *options, "--confirm.seconds", "5"]
    with started(command, log) as program:
        wait_for(mark.exists, of=program, log=log)
        program.send_signal(signal.SIGTERM)
        assert program.wait(120) == 130, log.read_text()
    folder = tmp_path / "studies" / "ended"
    assert f"python study/run.py --resume {folder}" in log.read_text()
    history = read_history(folder)
    assert len(history.ended_runs(Phase.SEARCH)) == 4
    assert not history.timings
    assert not history.openings
