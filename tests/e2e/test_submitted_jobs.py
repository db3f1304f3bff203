"""Studies as jobs of a Ray cluster: several nodes, a token, a stop, shares of GPUs, by the tiny
trial.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest
from mlflow import MlflowClient

from study.record.events import EpochEnded, Event, TrialPlaced
from study.record.history import History
from study.record.identities import Phase, TrialStatus
from study.record.ledger import read_events
from tests.gated_study import GATE
from tests.programs import ROOT, count, small, started, wait_for
from tests.ray_clusters import RayCluster, ray_cluster

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore"),
]
LOOPBACK = re.compile(r"(::ffff:)?127\.\d+\.\d+\.\d+|::1")
CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f]")
TRIALS = 4  # as many as the nodes hold at once: one on the head, three on the other
TOTAL_MIB = {0: 40_960, 1: 20_480}  # of the GPUs, which Ray counts; there are none
DRIVER = f"""
from types import SimpleNamespace

NVMLError = ConnectionError
nvmlInit = lambda: None
nvmlDeviceGetHandleByIndex = lambda index: index
nvmlDeviceGetMemoryInfo = lambda gpu: SimpleNamespace(total={TOTAL_MIB}[gpu] * 2**20)
"""


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RayCluster]:
    modules = tmp_path_factory.mktemp("modules")
    (modules / "pynvml.py").write_text(DRIVER)
    with ray_cluster(
        tmp_path_factory.mktemp("cluster"), head=(1, 1), workers={"second": (3, 2)}, modules=modules
    ) as running:
        yield running


def submit(
    cluster: RayCluster,
    *entrypoint: str,
    number: str,
    variables: dict[str, str] | None = None,
) -> list[str]:
    """The command that submits a program with the checkout, and with these tests' modules."""
    environment = {"py_modules": [str(ROOT / "tests")], "env_vars": variables or {}}
    return [
        *(str(Path(sys.executable).parent / "ray"), "job", "submit"),
        *("--address", cluster.jobs, "--submission-id", number),
        *("--runtime-env-json", json.dumps(environment), "--working-dir", str(ROOT)),
        *("--", "python", *entrypoint),
    ]


def listening(processes: list[psutil.Process]) -> set[str]:
    """The addresses that processes take connections at."""
    ids = {process.pid for process in processes}
    return {
        row.laddr.ip
        for row in psutil.net_connections("inet")
        if row.pid in ids and row.status == psutil.CONN_LISTEN
    }


@dataclass(frozen=True)
class Halted:
    """A study whose job was stopped while its first trials ran, and that a second job resumed.

    Parameters
    ----------
    folder : of the study.
    before : its events when the first job had ended.
    listening : the addresses that the cluster took connections at while the trials ran.
    stopped : how the cluster says that the first job ended.
    first_log, second_log : what the jobs wrote, as `ray job submit` passes it on.
    sent : the files that the cluster was sent as the working directory, by their paths.
    """

    folder: Path
    before: list[Event]
    listening: set[str]
    stopped: str
    first_log: str
    second_log: str
    sent: dict[str, int]

    @property
    def events(self) -> list[Event]:
        return read_events(self.folder)

    @property
    def history(self) -> History:
        return History(self.events)


@pytest.fixture(scope="module")
def storage(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("storage")


@pytest.fixture(scope="module")
def halted(cluster: RayCluster, raw_folder: Path, storage: Path) -> Halted:
    folder, logs = storage / "studies" / "halted", [storage / "first.log", storage / "second.log"]
    options = small("halted", raw=raw_folder, storage=storage)
    options += ["--search.trials", f"{TRIALS - 2}", "--search.scheduler", "none"]
    options += ["--resources.gpus_per_trial", "0.5"]
    options += ["--resources.node_folder", str(storage / "near")]
    variables = {
        "RAY_JOB_STOP_WAIT_TIME_S": "60",
        # which the study would set itself
        "KERAS_BACKEND": "tensorflow",
        "TF_CPP_MIN_LOG_LEVEL": "2",
    }
    how = {"environment": cluster.environment, "folder": storage}
    program = ("-m", "tests.gated_study")
    command = submit(cluster, *program, *options, number="first", variables=variables)
    with started(command, logs[0], **how) as job:
        ledger = folder / "ledger.jsonl"
        wait_for(lambda: count(ledger, '"event":"epoch"') == TRIALS, of=job, log=logs[0])
        family = cluster.processes()
        assert len(family) > 10
        addresses = listening(family)
        cluster.ask("POST", "api/jobs/first/stop")
        job.wait(300)
    stopped = str(cluster.ask("GET", "api/jobs/first")["status"])
    before = read_events(folder)
    (folder / GATE).touch()
    command = submit(cluster, *program, "--resume", str(folder), number="second")
    with started(command, logs[1], **how) as job:
        assert job.wait(600) == 0, logs[1].read_text()
    package = next(
        cluster.session.glob("session_2*/runtime_resources/working_dir_files/_ray_pkg_*/")
    )
    sent = {
        str(path.relative_to(package)): path.stat().st_size
        for path in package.rglob("*")
        if path.is_file()
    }
    texts = [log.read_text() for log in logs]
    return Halted(folder, before, addresses, stopped, *texts, sent)


def test_a_job_that_is_stopped_is_resumed_by_a_second_one(halted: Halted) -> None:
    assert halted.stopped == "STOPPED"
    assert f"--resume {halted.folder}" in halted.first_log
    assert "study_end" not in {event.kind for event in halted.before}
    assert "Job 'second' succeeded" in halted.second_log
    assert halted.events[: len(halted.before)] == halted.before
    epochs = Counter((one.run, one.epoch) for one in halted.events if isinstance(one, EpochEnded))
    assert set(epochs.values()) == {1}
    assert [one.kind for one in halted.events if one.kind == "repeat"] == []
    assert halted.events[-1].kind == "study_end"
    assert [(end.run, end.status) for end in halted.history.ends] == [(1, "finished")]
    searched = halted.history.of_phase(Phase.SEARCH)
    assert [run.status for run in searched] == [TrialStatus.FINISHED] * TRIALS


def test_a_job_runs_on_all_nodes_and_leaves_its_report_and_runs(halted: Halted) -> None:
    storage = halted.folder.parents[1]
    (nodes,) = re.findall(rf"nodes: (.*); all see {storage}", halted.first_log)
    assert sorted(nodes.split(", ")) == ["head", "second"]
    placed = [event for event in halted.before if isinstance(event, TrialPlaced)]
    assert Counter(event.node for event in placed) == {"head": 1, "second": 3}
    assert (halted.folder / "report.html").stat().st_size > 100_000
    assert len(list((storage / "near").glob("*/store.json"))) == 1
    runs = MlflowClient(f"sqlite:///{storage / 'mlflow.db'}").search_runs(
        ["1"], "tags.study = 'halted' and tags.phase = 'search'"
    )
    assert len(runs) == TRIALS
    assert {run.data.tags["node"] for run in runs} <= {"head", "second"}


def test_shares_of_gpus_are_placed_together_and_told_to_each_process(halted: Halted) -> None:
    said = f"{TRIALS} trials at once, 1 CPU and 0.5 GPUs each; the CPUs bind: the GPUs would hold 6"
    assert said in halted.first_log
    assert "trial_end" not in {event.kind for event in halted.before}  # all of them ran at once
    placed = [event for event in halted.before if isinstance(event, TrialPlaced)]
    assert len({event.pid for event in placed}) == TRIALS
    gpus = Counter((event.node, *event.gpus) for event in placed)
    assert gpus == {("head", 0): 1, ("second", 0): 2, ("second", 1): 1}
    assert {event.gpu_share for event in placed} == {0.5}
    for event in placed:  # it was its own GPU that each of them asked
        assert event.gpu_limit_mib == TOTAL_MIB[int(event.gpus[0])] / 2


def test_all_of_a_cluster_and_its_jobs_listens_on_loopback_alone(halted: Halted) -> None:
    assert halted.listening
    assert [one for one in halted.listening if not LOOPBACK.fullmatch(one)] == []


def test_a_job_is_sent_the_program_alone_and_its_log_is_lines_of_text(halted: Halted) -> None:
    assert {Path(path).parts[0] for path in halted.sent} >= {
        *("study", "search_spaces", "analysis", "pyproject.toml")
    }
    assert sum(halted.sent.values()) < 2e6  # the checkout, less what is not needed
    assert re.search(rf"search \d/{TRIALS} \| .* elapsed, ", halted.second_log)
    coloured = r"\x1b\[\d*m"  # by `ray job submit`
    assert not CONTROL.search(re.sub(coloured, "", halted.first_log + halted.second_log))


def test_a_submission_without_the_token_is_refused(cluster: RayCluster, tmp_path: Path) -> None:
    stranger = {
        name: value
        for name, value in cluster.environment.items()
        if not name.startswith("RAY_AUTH")
    } | {"HOME": str(tmp_path)}
    command = submit(cluster, "study/run.py", "--help", number="stranger")
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
    assert "stranger" not in {job["submission_id"] for job in cluster.ask("GET", "api/jobs/")}


def test_a_node_that_does_not_see_the_storage_is_named_before_training(
    cluster: RayCluster, raw_folder: Path, storage: Path, tmp_path: Path
) -> None:
    unseen = tmp_path / "file"
    unseen.write_text("")
    options = small("unseen", raw=raw_folder, storage=storage)
    options += ["--without-mlflow", "--resources.node_folder", str(unseen / "near")]
    command = submit(cluster, "study/run.py", *options, number="unseen")
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
    for name in ("head", "second"):
        assert re.search(rf"node {name}: .*{re.escape(str(unseen))}", said)
    assert not (storage / "studies" / "unseen").exists()
