"""The record under faults: servers that are killed, drivers that are killed, and what is there in
the end.
"""

from __future__ import annotations

import random
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import mlflow.pyfunc
import numpy as np
import psutil
import pytest
from mlflow import MlflowClient

from study.cli import main
from study.record.ledger import read_events
from study.trial.restoring import load_restorer
from tests.e2e.test_study import RUN, SMALL, run, started, wait_for
from tests.servers import content, free_port, mlflow_server, postgresql

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]


@pytest.fixture(scope="module")
def database() -> Iterator[str]:
    with postgresql() as uri:
        yield uri


def test_a_server_that_dies_and_comes_back_holds_what_a_replay_gives(
    database: str, raw_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    port, log = free_port(), tmp_path / "log"
    options = [
        "--config",
        "smoke",
        "--name",
        "faulty",
        "--storage",
        str(tmp_path),
        "--dataset.root",
        str(raw_folder),
        *SMALL,
    ]
    command = [sys.executable, str(RUN), *options, "--record.mlflow", f"http://127.0.0.1:{port}"]
    folder = tmp_path / "studies" / "faulty"
    with (
        mlflow_server(tmp_path / "server", backend=database, port=port) as (uri, pid),
        started(command, log) as study,
    ):
        wait_for('"event":"epoch"', folder / "ledger.jsonl")
        wait_for_runs(uri, "faulty")
        psutil.Process(pid).kill()
        for child in [
            p
            for p in psutil.process_iter(["cmdline"])
            if f"--port {port}" in " ".join(p.info["cmdline"] or []) and p.pid != pid
        ]:
            child.kill()
        assert study.wait(600) == 0, log.read_text()
    assert re.search(r"\d+ events have not reached MLflow", log.read_text())
    with mlflow_server(tmp_path / "server", backend=database, port=port) as (uri, _):
        assert main(["sync", str(folder)]) == 0
        assert "all of them are there" in capsys.readouterr().out
        held = content(uri, "faulty")
        assert main(["sync", str(folder), "--all"]) == 0
        assert content(uri, "faulty") == held
        model = "models:/refocus-faulty@champion"
        mlflow.set_tracking_uri(uri)
        image = np.random.default_rng(0).random((1, 48, 48)).astype(np.float32)
        version = MlflowClient(tracking_uri=uri).get_model_version_by_alias(
            "refocus-faulty", "champion"
        )
        best = next(
            event
            for event in read_events(folder)
            if event["event"] == "trial"
            and event["phase"] == "confirm"
            and event["label"] == version.tags["label"]
        )
        np.testing.assert_array_equal(
            mlflow.pyfunc.load_model(model).predict(image)[0],
            load_restorer(Path(best["folder"])).restore(image[0]),
        )
    replay = f"sqlite:///{tmp_path}/replay/mlflow.db"
    assert main(["sync", str(folder), "--uri", replay]) == 0
    assert content(replay, "faulty") == held
    statuses = {value["status"] for value in held.values() if isinstance(value, dict)}
    assert statuses == {"FINISHED"}
    parent = next(value for key, value in held.items() if key.endswith("/study"))
    assert "report/report.html" in parent["artifacts"]  # type: ignore[index]
    assert any(
        re.fullmatch(r"figures/confirm-.*-restorations\.png", path)
        for value in held.values()
        if isinstance(value, dict)
        for path in value["artifacts"]
    )


def test_a_driver_that_is_killed_five_times_loses_nothing_and_does_nothing_twice(
    raw_folder: Path, tmp_path: Path
) -> None:
    folder, ledger = (
        tmp_path / "studies" / "killed",
        tmp_path / "studies" / "killed" / "ledger.jsonl",
    )
    options = [
        "--config",
        "smoke",
        "--name",
        "killed",
        "--storage",
        str(tmp_path),
        "--dataset.root",
        str(raw_folder),
        *SMALL,
    ]
    command = [sys.executable, str(RUN), *options]
    chance, weights = random.Random(5), {}
    for kill in range(
        5
    ):  # after some events, or soon after a trial has ended: before MLflow can have heard of it
        awaited, most = (b'"event":"trial_end"', 1) if kill % 2 else (b"\n", 5)
        goal, until = (
            written(ledger).count(awaited) + chance.randint(1, most),
            time.monotonic() + 300,
        )
        with started(command, tmp_path / f"log{kill}") as study:
            while (
                time.monotonic() < until
                and study.poll() is None
                and written(ledger).count(awaited) < goal
            ):
                time.sleep(0.01)
            time.sleep(chance.random() * 0.3)
            assert study.poll() is None, (
                tmp_path / f"log{kill}"
            ).read_text()  # it was killed, it did not end
            study.send_signal(signal.SIGKILL)
            study.wait(60)
        for path in finished_weights(folder):
            weights.setdefault(path, path.stat().st_mtime_ns)
        command = [sys.executable, str(RUN), "--resume", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=900, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    ended = [
        (e["phase"], e["trial"], e["replicate"])
        for e in read_events(folder)
        if e["event"] == "trial_end"
    ]
    assert len(ended) == len(set(ended)) == 7
    assert weights, "no trial had finished at any kill"
    assert {path: path.stat().st_mtime_ns for path in weights} == weights  # none was trained again
    assert main(["sync", str(folder)]) == 0
    assert main(["sync", str(folder), "--uri", f"sqlite:///{tmp_path}/replay/mlflow.db"]) == 0
    held = content(f"sqlite:///{tmp_path}/mlflow.db", "killed")
    assert held == content(f"sqlite:///{tmp_path}/replay/mlflow.db", "killed")
    assert {value["status"] for value in held.values() if isinstance(value, dict)} == {"FINISHED"}


def written(ledger: Path) -> bytes:
    return ledger.read_bytes() if ledger.exists() else b""


def finished_weights(folder: Path) -> list[Path]:
    """Return the weights of the trials that the ledger says have finished."""
    ends = [
        event
        for event in read_events(folder)
        if event["event"] == "trial_end" and event["status"] == "finished"
    ]
    names = [
        (
            f"{e['trial']:04d}"
            if e["phase"] == "search"
            else f"{e['phase']}-{e['trial']:04d}-{e['replicate']}"
        )
        for e in ends
    ]
    return [folder / "trials" / name / "weights.npz" for name in names]


def test_a_server_that_wants_a_password_is_served_with_one_and_says_so_without(
    raw_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with mlflow_server(tmp_path / "server", auth=True) as (uri, _):
        new = [
            "--config",
            "smoke",
            "--name",
            "new",
            "--dataset.root",
            str(raw_folder),
            *SMALL,
            "--record.mlflow",
            uri,
        ]
        monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "admin")
        monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "wrong")
        done = run(*new, folder=tmp_path)
        assert done.returncode == 2
        assert "MLFLOW_TRACKING_PASSWORD" in done.stderr
        assert "Traceback" not in done.stderr
        assert not (tmp_path / "stores").exists()
        monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "correct-horse-7")
        done = run(*new, "--search.space", "none", folder=tmp_path)
        assert done.returncode == 0, done.stdout + done.stderr
        client = MlflowClient(tracking_uri=uri)
        experiment = client.get_experiment_by_name("refocus")
        assert experiment is not None
        assert {
            run.info.status
            for run in client.search_runs([experiment.experiment_id], "tags.study = 'new'")
        } == {"FINISHED"}
        assert (
            client.get_model_version_by_alias("refocus-new", "champion")
            .tags["label"]
            .startswith("paper's")
        )


def wait_for_runs(uri: str, study: str) -> None:
    client, until = MlflowClient(tracking_uri=uri), time.monotonic() + 120
    while time.monotonic() < until:
        experiment = client.get_experiment_by_name("refocus")
        if (
            experiment
            and len(client.search_runs([experiment.experiment_id], f"tags.study = '{study}'")) > 3
        ):
            return
        time.sleep(0.5)
    pytest.fail("the study's runs did not reach the server")
