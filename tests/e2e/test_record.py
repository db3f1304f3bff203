"""The record and its server: one that wants a password, and one that is killed."""

from __future__ import annotations

import contextlib
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
from mlflow import MlflowClient

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
    pytest.mark.xdist_group("local ray"),
]


class Server:
    """An MLflow server that asks for a password, on PostgreSQL; it can be killed, and comes back at
    the same address.
    """

    def __init__(self, folder: Path, database: str) -> None:
        self._folder, self._database, self._port = folder, database, free_port()
        self._running: contextlib.ExitStack | None = None
        self._pid = 0

    def start(self) -> str:
        """Start it unless it runs; return its address."""
        if self._running is None:
            self._running = contextlib.ExitStack()
            _, self._pid = self._running.enter_context(
                mlflow_server(self._folder, backend=self._database, port=self._port, auth=True)
            )
        return f"http://127.0.0.1:{self._port}"

    def kill(self) -> None:
        """Kill it and all of its processes."""
        family = [psutil.Process(self._pid), *psutil.Process(self._pid).children(recursive=True)]
        for process in family:
            process.kill()
        psutil.wait_procs(family, timeout=30)
        self.stop()

    def stop(self) -> None:
        """End it if it runs."""
        if self._running is not None:
            self._running.close()
            self._running = None


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with postgresql() as database:
        server = Server(tmp_path_factory.mktemp("server"), database)
        yield server
        server.stop()


@pytest.fixture
def uri(server: Server, monkeypatch: pytest.MonkeyPatch) -> str:
    """The address of the server, which runs, and this process's name and password for it."""
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "admin")
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "correct-horse-7")
    return server.start()


def test_a_wrong_password_is_told_before_anything_is_spent(
    uri: str, run_small: Callable[..., Done], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "wrong")
    done = run_small("new", "--record.mlflow", uri)
    assert done.status == 2
    assert "MLFLOW_TRACKING_PASSWORD" in done.err
    assert not (tmp_path / "stores").exists()


@pytest.mark.usefixtures("on_local_ray")
def test_a_server_that_dies_and_comes_back_holds_what_a_replay_gives(
    uri: str,
    server: Server,
    raw_folder: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(mirror, "PATIENCE_IF_AWAY_S", 1.0)
    folder, lines = tmp_path / "studies" / "faulty", []

    def log(line: str) -> None:  # the server dies when the search has ended
        lines.append(line)
        if line.startswith("confirm:"):
            wait_for_runs(uri, "faulty")
            server.kill()

    options = [*small("faulty", raw=raw_folder, storage=tmp_path), "--record.mlflow", uri]
    config, _ = parse_run(options)
    result = run_study(config, log=log, draw=draw_trial, conclude=conclude, code=TINY)
    assert not result.problems
    assert result.unmirrored > 0
    assert any(line.startswith("confirm:") for line in lines)

    server.start()
    assert main(["sync", str(folder)]) == 0
    assert "all of them are there" in capsys.readouterr().out
    held = content(uri, "faulty")
    assert main(["sync", str(folder), "--all"]) == 0
    assert content(uri, "faulty") == held
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
    champion = MlflowClient(uri).get_model_version_by_alias("refocus-faulty", "champion")
    labels = {run.label for run in result.history.runs.values()}
    assert champion.tags["label"] in labels


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
