"""The record and its server: one that wants a password, and one that is killed."""

from __future__ import annotations

import functools
import re
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest
from mlflow import MlflowClient

from analysis import report
from analysis.conclusion import conclude
from analysis.figures import draw_trial
from study.cli import main
from study.command_line import parse_run
from study.record import mirror
from study.workflow.study import run_study
from tests.e2e.conftest import Done
from tests.programs import small
from tests.servers import content, free_port, mlflow_server, postgresql
from tests.tiny_study import TINY

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore"),
]


def test_a_password_is_asked_for_before_anything_is_spent(
    run_small: Callable[..., Done], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with mlflow_server(tmp_path / "server", auth=True) as (uri, _):
        monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "admin")
        monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "wrong")
        done = run_small("new", "--record.mlflow", uri)
        assert done.status == 2
        assert "MLFLOW_TRACKING_PASSWORD" in done.err
        assert not (tmp_path / "stores").exists()
        monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "correct-horse-7")
        # it is let in; not a whole study, for the server takes half a second to look at a password
        done = run_small("new", "--record.mlflow", uri, "--dataset.root", str(tmp_path / "away"))
        assert done.status == 2
        assert "MLFLOW" not in done.err
        assert f"{tmp_path / 'away'}, which does not exist" in done.err


def test_a_report_that_fails_is_said_and_the_numbers_reach_mlflow(
    run_small: Callable[..., Done], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    uri, threads = f"sqlite:///{tmp_path}/mlflow.db", []

    def fail(*_: object) -> str:
        threads.append(threading.current_thread())
        raise OSError("no space left")

    with monkeypatch.context() as patched:
        patched.setattr(report, "render_page", fail)
        done = run_small("untold", "--record.mlflow", uri)
    assert done.status == 1
    assert "OSError: no space left" in done.err
    assert f"refocus report {done.folder}" in done.err
    assert "unrestored input (test)" in done.out
    assert threads == [threading.main_thread()]
    client = MlflowClient(uri)
    [parent] = client.search_runs(["1"], "tags.kind = 'study'")
    assert parent.data.tags["outcome.winner"] != "" != parent.data.tags["outcome.champion"]
    assert "no space left" in parent.data.tags["outcome.problem"]
    assert not client.list_artifacts(parent.info.run_id, "report")
    assert main(["sync", str(done.folder), "--all"]) == 0
    [artifact] = client.list_artifacts(parent.info.run_id, "report")
    assert artifact.path == "report/report.html"
    assert client.get_run(parent.info.run_id).data.tags["outcome.problem"] == ""


def test_a_report_is_built_once_and_not_by_the_mirror(
    run_small: Callable[..., Done], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    threads, render_page = [], report.render_page

    def count(*told: Any) -> str:
        threads.append(threading.current_thread())
        return render_page(*told)

    monkeypatch.setattr(report, "render_page", count)
    done = run_small("once", "--record.mlflow", f"sqlite:///{tmp_path}/mlflow.db")
    assert done.status == 0, done.err
    assert f"report:  {done.folder / 'report.html'}" in done.out
    assert main(["sync", str(done.folder), "--all"]) == 0
    assert threads == [threading.main_thread()]


@pytest.mark.usefixtures("on_local_ray")
def test_a_server_that_dies_and_comes_back_holds_what_a_replay_gives(
    raw_folder: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(mirror, "PATIENCE_IF_AWAY_S", 1.0)
    folder, port, deaths = tmp_path / "studies" / "faulty", free_port(), []
    with postgresql() as database:
        serve = functools.partial(mlflow_server, tmp_path / "server", backend=database, port=port)
        with serve() as (uri, pid):

            def log(line: str) -> None:  # the server dies when the search has ended
                if line.startswith("confirm:"):
                    wait_for_runs(uri, "faulty")
                    kill_family(pid)
                    deaths.append(line)

            options = [*small("faulty", raw=raw_folder, storage=tmp_path), "--record.mlflow", uri]
            config, _ = parse_run(options)
            result = run_study(config, log=log, draw=draw_trial, conclude=conclude, code=TINY)
        assert len(deaths) == 1
        assert not result.problems
        assert result.unmirrored > 0
        with serve():
            assert main(["sync", str(folder)]) == 0
            assert "all of them are there" in capsys.readouterr().out
            held = content(uri, "faulty")
            assert main(["sync", str(folder), "--all"]) == 0
            assert content(uri, "faulty") == held
            winner = MlflowClient(uri).get_model_version_by_alias("refocus-faulty", "winner")
    replay = f"sqlite:///{tmp_path}/replay/mlflow.db"
    assert main(["sync", str(folder), "--uri", replay]) == 0
    assert content(replay, "faulty") == held
    runs = [value for value in held.values() if isinstance(value, dict)]
    assert {run["status"] for run in runs} == {"FINISHED"}
    parent = next(value for key, value in held.items() if key.endswith("/study"))
    assert isinstance(parent, dict)
    assert "report/report.html" in parent["artifacts"]
    figure = re.compile(r"figures/confirm-.*-restorations\.png")
    assert any(figure.fullmatch(path) for run in runs for path in run["artifacts"])
    assert winner.tags["label"] in {run.label for run in result.history.runs.values()}


def kill_family(pid: int) -> None:
    """Kill a process and all that it has started."""
    family = [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]
    for process in family:
        process.kill()
    psutil.wait_procs(family, timeout=30)


def wait_for_runs(uri: str, study: str) -> None:
    """Wait until the server has heard of some trials."""
    client, until = MlflowClient(tracking_uri=uri), time.monotonic() + 120
    while time.monotonic() < until:
        experiment = client.get_experiment_by_name("refocus")
        found = experiment and client.search_runs(
            [experiment.experiment_id], f"tags.study = '{study}'"
        )
        if found and len(found) > 3:
            return
        time.sleep(0.2)
    pytest.fail("the study's runs did not reach the server")
