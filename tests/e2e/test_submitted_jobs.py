"""Studies as jobs of a Ray cluster: several nodes, a token, stops, shares of GPUs."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from mlflow import MlflowClient

from study.record.ledger import read_events
from tests.e2e.test_study import SMALL, started, wait_for
from tests.servers import RayCluster, mlflow_server, ray_cluster

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]
ROOT = Path(__file__).resolve().parents[2]
LOOPBACK = re.compile(r"(::ffff:)?127\.\d+\.\d+\.\d+|::1")
CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f]")


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RayCluster]:
    with ray_cluster(
        tmp_path_factory.mktemp("cluster"), workers={"left": (1, 0), "right": (1, 0)}
    ) as running:
        yield running


def submit(
    cluster: RayCluster, *arguments: str, number: str, variables: dict[str, str] | None = None
) -> list[str]:
    given = ["--runtime-env-json", json.dumps({"env_vars": variables})] if variables else []
    return [
        str(Path(sys.executable).parent / "ray"),
        "job",
        "submit",
        "--address",
        cluster.jobs,
        "--submission-id",
        number,
        *given,
        "--working-dir",
        str(ROOT),
        "--",
        "python",
        "study/run.py",
        *arguments,
    ]


def ray(cluster: RayCluster, *arguments: str) -> str:
    command = [
        str(Path(sys.executable).parent / "ray"),
        "job",
        arguments[0],
        "--address",
        cluster.jobs,
        *arguments[1:],
    ]
    done = subprocess.run(
        command, env=cluster.environment, capture_output=True, text=True, timeout=300, check=False
    )
    return done.stdout + done.stderr


def listening(processes: list[psutil.Process]) -> set[str]:
    """The addresses that processes take connections at."""
    ids = {process.pid for process in processes}
    return {
        row.laddr.ip
        for row in psutil.net_connections("inet")
        if row.pid in ids and row.status == psutil.CONN_LISTEN
    }


def test_a_submitted_study_runs_on_all_nodes_and_leaves_its_report_and_runs(
    cluster: RayCluster, raw_folder: Path, tmp_path: Path
) -> None:
    log = tmp_path / "job.log"
    options = [
        "--config",
        "smoke",
        "--name",
        "spread",
        "--storage",
        str(tmp_path),
        "--dataset.root",
        str(raw_folder),
        *SMALL,
    ]
    near = ["--resources.node_folder", str(tmp_path / "near")]
    with mlflow_server(tmp_path / "server") as (uri, server):
        variables = {
            "KERAS_BACKEND": "tensorflow",
            "TF_CPP_MIN_LOG_LEVEL": "2",
        }  # which the study would set itself
        command = submit(
            cluster, *options, *near, "--record.mlflow", uri, number="spread", variables=variables
        )
        with started(command, log, environment=cluster.environment, folder=tmp_path) as job:
            wait_for('"event":"epoch"', tmp_path / "studies" / "spread" / "ledger.jsonl")
            family = cluster.processes()
            assert len(family) > 10
            assert {
                address for address in listening(family) if not LOOPBACK.fullmatch(address)
            } == set()
            assert all(
                LOOPBACK.fullmatch(address)
                for address in listening(
                    [psutil.Process(server), *psutil.Process(server).children(True)]
                )
            )
            assert job.wait(600) == 0, log.read_text()
        runs = MlflowClient(uri).search_runs(
            ["1"], "tags.study = 'spread' and tags.phase = 'search'"
        )
    said = log.read_text()
    assert "Job 'spread' succeeded" in said
    assert re.search(r"search \d/4 \| .* gone, ", said)
    assert not CONTROL.search(
        re.sub(r"\x1b\[\d*m", "", said)
    )  # `ray job submit` colours its own words
    sent = next(cluster.session.glob("session_2*/runtime_resources/working_dir_files/_ray_pkg_*/"))
    assert {"study", "search_spaces", "analysis", "pyproject.toml"} <= {
        path.name for path in sent.iterdir()
    }
    assert (
        sum(path.stat().st_size for path in sent.rglob("*") if path.is_file()) < 2e6
    )  # the checkout, less what is not needed
    assert "nodes: " in said
    placed = [
        event
        for event in read_events(tmp_path / "studies" / "spread")
        if event["event"] == "placed"
    ]
    assert {event["node"] for event in placed} == {"left", "right"}
    assert {run.data.tags["node"] for run in runs} <= {"left", "right"}
    assert len(runs) == 4
    assert (tmp_path / "studies" / "spread" / "report.html").stat().st_size > 100_000
    assert len(list((tmp_path / "near").glob("*/store.json"))) == 1


def test_a_submission_without_the_token_is_refused(cluster: RayCluster, tmp_path: Path) -> None:
    stranger = {
        name: value
        for name, value in cluster.environment.items()
        if not name.startswith("RAY_AUTH")
    } | {"HOME": str(tmp_path)}
    command = submit(cluster, "--help", number="stranger")
    done = subprocess.run(
        command,
        env=stranger,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode != 0
    assert "authentication token" in (done.stdout + done.stderr).lower()
    assert "stranger" not in ray(cluster, "list")


def test_a_job_that_is_stopped_goes_on_with_a_second_one(
    cluster: RayCluster, raw_folder: Path, tmp_path: Path
) -> None:
    folder, log = tmp_path / "studies" / "halted", tmp_path / "first.log"
    options = [
        "--config",
        "smoke",
        "--name",
        "halted",
        "--storage",
        str(tmp_path),
        "--dataset.root",
        str(raw_folder),
        *SMALL,
    ]
    patience = {"RAY_JOB_STOP_WAIT_TIME_S": "60"}
    with started(
        submit(cluster, *options, number="first", variables=patience),
        log,
        environment=cluster.environment,
        folder=tmp_path,
    ) as job:
        wait_for('"event":"epoch"', folder / "ledger.jsonl")
        ray(cluster, "stop", "first")
        job.wait(300)
    assert "was stopped" in ray(cluster, "status", "first")
    assert f"--resume {folder}" in ray(cluster, "logs", "first")
    before = read_events(folder)
    assert "study_end" not in {event["event"] for event in before}
    second = tmp_path / "second.log"
    with started(
        submit(cluster, "--resume", str(folder), number="second"),
        second,
        environment=cluster.environment,
        folder=tmp_path,
    ) as job:
        assert job.wait(600) == 0, second.read_text()
    events = read_events(folder)
    assert events[: len(before)] == before
    epochs = [
        (event["phase"], event["trial"], event["replicate"], event["epoch"])
        for event in events
        if event["event"] == "epoch"
    ]
    assert len(epochs) == len(set(epochs))
    assert events[-1]["event"] == "study_end"
    assert events[-1]["status"] == "finished"


def test_a_node_that_does_not_see_the_storage_is_named_before_training(
    cluster: RayCluster, raw_folder: Path, tmp_path: Path
) -> None:
    unseen = tmp_path / "file"
    unseen.write_text("")
    options = [
        "--config",
        "smoke",
        "--name",
        "unseen",
        "--storage",
        str(tmp_path),
        "--dataset.root",
        str(raw_folder),
        *SMALL,
    ]
    command = submit(
        cluster, *options, "--resources.node_folder", str(unseen / "near"), number="unseen"
    )
    done = subprocess.run(
        command,
        env=cluster.environment,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    said = done.stdout + done.stderr
    assert done.returncode != 0
    for name in ("head", "left", "right"):
        assert re.search(rf"node {name}: .*{re.escape(str(unseen))}", said)
    assert not (tmp_path / "studies" / "unseen").exists()


DRIVER = """
from types import SimpleNamespace

NVMLError = ConnectionError
nvmlInit = lambda: None
nvmlDeviceGetHandleByIndex = lambda index: index
nvmlDeviceGetMemoryInfo = lambda gpu: SimpleNamespace(total=40960 * 2**20)
nvmlDeviceGetName = lambda gpu: "a GPU"
nvmlSystemGetDriverVersion = lambda: "1.2.3"
"""


def test_shares_of_gpus_are_placed_together_and_told_to_each_process(
    raw_folder: Path, tmp_path: Path
) -> None:
    log = tmp_path / "job.log"
    options = [
        "--config",
        "smoke",
        "--name",
        "packed",
        "--storage",
        str(tmp_path),
        "--dataset.root",
        str(raw_folder),
        *SMALL,
    ]
    options += [
        "--search.trials",
        "6",
        "--search.scheduler",
        "none",
        "--resources.gpus_per_trial",
        "0.25",
    ]
    modules = tmp_path / "modules"
    modules.mkdir()
    (modules / "pynvml.py").write_text(DRIVER)
    with (
        ray_cluster(
            tmp_path / "cluster", head=(8, 2), modules=modules
        ) as cluster,  # GPUs that Ray counts; there is none
        started(
            submit(cluster, *options, number="packed"),
            log,
            environment=cluster.environment,
            folder=tmp_path,
        ) as job,
    ):
        assert job.wait(900) == 0, log.read_text()
    assert "8 trials at once, 1 CPU and 0.25 GPUs each" in log.read_text()
    events = [
        event
        for event in read_events(tmp_path / "studies" / "packed")
        if event.get("phase") == "search"
    ]
    first_end = next(index for index, event in enumerate(events) if event["event"] == "trial_end")
    assert sum(event["event"] == "trial" for event in events[:first_end]) == 8
    placed = [event for event in events if event["event"] == "placed"]
    assert len({event["pid"] for event in placed}) == 8
    assert sorted(event["gpus"][0] for event in placed) == [0, 0, 0, 0, 1, 1, 1, 1]
    assert {event["gpu_share"] for event in placed} == {0.25}
    assert {event["gpu_limit_mib"] for event in placed} == {
        40960 // 4 - 600
    }  # its share, less what CUDA itself takes
    assert {event["gpu"] for event in placed} == {"a GPU, 1.2.3"}
