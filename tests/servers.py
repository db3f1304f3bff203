"""Real servers for tests: PostgreSQL, MLflow over HTTP and Ray clusters, on loopback, each ended by
its process id.
"""

from __future__ import annotations

import contextlib
import json
import os
import pwd
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest
from mlflow import MlflowClient

REQUIRED = (  # set where a missing PostgreSQL must fail the tests, not skip them
    "REFOCUS_REQUIRE_POSTGRESQL"
)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextlib.contextmanager
def process(
    command: list[str], log: Path, *, end_with: signal.Signals = signal.SIGTERM, **options: object
) -> Iterator[subprocess.Popen[bytes]]:
    """Start a program in a session of its own; end what is left of it when the block ends."""
    with log.open("ab") as output:
        started = subprocess.Popen(
            command, stdout=output, stderr=output, start_new_session=True, **options
        )  # type: ignore[call-overload]
    try:
        yield started
    finally:
        for number in (end_with, signal.SIGKILL):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(started.pid, number)
            with contextlib.suppress(subprocess.TimeoutExpired):
                started.wait(20)
                break


@contextlib.contextmanager
def postgresql() -> Iterator[str]:
    """Run a PostgreSQL server of our own; give its URI."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres")) or [
        Path(path) for path in [shutil.which("postgres")] if path
    ]
    if not found:
        if os.environ.get(REQUIRED):
            pytest.fail("PostgreSQL is not installed")
        pytest.skip("PostgreSQL is not installed (Debian: apt-get install postgresql)")
    programs, port = found[-1].parent, free_port()
    folder = Path(tempfile.mkdtemp(prefix="refocus-postgresql-"))
    options: dict[str, object] = {}
    if os.getuid() == 0:  # it refuses to run as root
        owner = pwd.getpwnam("postgres")
        os.chown(folder, owner.pw_uid, owner.pw_gid)
        options = {"user": "postgres", "group": owner.pw_gid, "extra_groups": []}
    data = folder / "data"
    try:
        subprocess.run(
            [
                programs / "initdb",
                "-D",
                data,
                "-U",
                "refocus",
                "--auth",
                "trust",
                "--no-sync",
                "-E",
                "UTF8",
            ],
            check=True,
            capture_output=True,
            cwd="/",
            **options,  # type: ignore[call-overload]
        )
        command = [
            str(programs / "postgres"),
            "-D",
            str(data),
            "-p",
            str(port),
            "-k",
            str(folder),
            "-c",
            "listen_addresses=127.0.0.1",
        ]
        log = Path(tempfile.mkdtemp(prefix="refocus-postgresql-log-")) / "log"
        with process(command, log, end_with=signal.SIGINT, cwd="/", **options):
            _wait_until(
                lambda: (
                    subprocess.run(
                        [programs / "pg_isready", "-h", "127.0.0.1", "-p", str(port)],
                        capture_output=True,
                        check=False,
                    ).returncode
                    == 0
                ),
                log,
            )
            yield f"postgresql+psycopg2://refocus@127.0.0.1:{port}/postgres"
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def mlflow_server(
    folder: Path, *, backend: str | None = None, port: int | None = None, auth: bool = False
) -> Iterator[tuple[str, int]]:
    """Run `mlflow server`; give its address and process id, which is also that of its group.

    Parameters
    ----------
    folder : Path
        Where it keeps artifacts, and its database if no `backend` is given.
    backend : str, optional
        URI of its database.
    port : int, optional
        A free one if not given.
    auth : bool
        Ask for a name and a password: admin, correct-horse-7.
    """
    folder.mkdir(parents=True, exist_ok=True)
    port = port or free_port()
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith("MLFLOW_")
    }
    environment |= {
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "MLFLOW_FLASK_SERVER_SECRET_KEY": "for tests",
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
    }
    command = [
        sys.executable,
        "-m",
        "mlflow",
        "server",
        "--backend-store-uri",
        backend or f"sqlite:///{folder / 'mlflow.db'}",
        "--artifacts-destination",
        str(folder / "artifacts"),
        "--host",
        "127.0.0.1",
        "--port",
        str(port),
        "--workers",
        "1",
    ]
    if auth:
        (folder / "auth.ini").write_text(
            "[mlflow]\ndefault_permission = READ\ndatabase_uri ="
            f" sqlite:///{folder / 'auth.db'}\nadmin_username = admin\nadmin_password ="
            " correct-horse-7\nauthorization_function ="
            " mlflow.server.auth:authenticate_request_basic_auth\n"
        )
        environment["MLFLOW_AUTH_CONFIG_PATH"] = str(folder / "auth.ini")
        command += ["--app-name", "basic-auth"]
    address, log = f"http://127.0.0.1:{port}", folder / "server.log"
    with process(command, log, env=environment, cwd=str(folder)) as started:
        _wait_until(lambda: _answers(f"{address}/health"), log)
        yield address, started.pid


LOCAL_RAY = """
import sys
import ray
context = ray.init(
    address="local", num_cpus=1, include_dashboard=False, log_to_driver=False,
    logging_level="WARNING",
)
print(context.address_info["address"], flush=True)
sys.stdin.read()
"""


@contextlib.contextmanager
def local_ray(log: Path) -> Iterator[str]:
    """Run Ray on this machine alone, with one processor, so that trials run one after another; give
    its address.

    It outlives the studies that join it, which start nothing but their workers. Its token is that
    of the environment, see `tests.conftest`.
    """
    options = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with log.open("ab") as errors:
        started = subprocess.Popen(
            [sys.executable, "-c", LOCAL_RAY], stderr=errors, start_new_session=True, **options
        )  # type: ignore[call-overload]
    try:
        address = started.stdout.readline().strip()
        if not address:
            pytest.fail(f"Ray did not start: {log.read_text()[-2000:]}")
        yield address
    finally:
        started.stdin.close()
        started.wait(60)


RAY_WORKER = """
import sys, time
from ray._private.node import Node
from ray._private.parameter import RayParams
head, name, port, resources, session = sys.argv[1:]
cpus, gpus = map(float, resources.split(","))
parameters = RayParams(
    gcs_address=head, node_name=name, node_ip_address="127.0.0.1", num_cpus=cpus, num_gpus=gpus,
    dashboard_agent_listen_port=int(port), temp_dir=session,
)
Node(parameters, head=False, shutdown_at_exit=True, spawn_reaper=True)
while True:
    time.sleep(1)
"""


@dataclass(frozen=True)
class RayCluster:
    """A running cluster.

    Parameters
    ----------
    jobs : address for `ray job submit`.
    environment : that its processes, and those who may use it, have; the token is in it.
    session : the folder in which Ray keeps what it needs meanwhile.
    """

    jobs: str
    environment: dict[str, str]
    session: Path

    def processes(self) -> list[psutil.Process]:
        """Every process that has its token: Ray's own, jobs, and their workers."""
        found = []
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                if process.environ().get("RAY_AUTH_TOKEN") == self.environment["RAY_AUTH_TOKEN"]:
                    found.append(process)
        return found

    def nodes(self) -> set[str]:
        """Names of the nodes that have joined."""
        asked = urllib.request.Request(
            f"{self.jobs}/nodes?view=summary",
            headers={"Authorization": f"Bearer {self.environment['RAY_AUTH_TOKEN']}"},
        )
        with urllib.request.urlopen(asked, timeout=10) as answer:
            summary = json.load(answer)["data"]["summary"]
        return {
            node["raylet"]["nodeName"] for node in summary if node["raylet"].get("state") == "ALIVE"
        }


@contextlib.contextmanager
def ray_cluster(
    folder: Path,
    *,
    head: tuple[float, float] = (0, 0),
    workers: dict[str, tuple[float, float]] | None = None,
    modules: Path | None = None,
) -> Iterator[RayCluster]:
    """Run a Ray cluster with token authentication, all of it on the loopback interface.

    Its workers are raylets of their own. `ray start` refuses to join a cluster on loopback, as if
    no machine but this one could be meant; so they are started by the class that it starts them by.
    Each has a session folder of its own, as on a machine of its own: with one for all, a node that
    unpacks a job's working directory takes it away from under the others.

    Parameters
    ----------
    folder : Path
        For logs.
    head : tuple
        Processors and GPUs of the head.
    workers : dict, optional
        Name of a worker -> its processors and GPUs.
    modules : Path, optional
        A folder that comes first where its processes look for modules.
    """
    folder.mkdir(parents=True, exist_ok=True)
    port, dashboard = free_port(), free_port()
    session = Path(tempfile.mkdtemp(prefix="rc-", dir="/tmp"))  # a socket's path must be short
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith("RAY_")
    } | {
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN": secrets.token_hex(32),
        "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",  # Ray's name for: keep to the loopback interface
        "RAY_USAGE_STATS_ENABLED": "0",
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
    }
    if modules is not None:
        environment["PYTHONPATH"] = str(modules)
    command = [
        "ray",
        "start",
        "--head",
        "--block",
        "--node-name",
        "head",
        "--node-ip-address",
        "127.0.0.1",
        "--port",
        str(port),
        "--dashboard-host",
        "127.0.0.1",
        "--dashboard-port",
        str(dashboard),
        "--dashboard-agent-listen-port",
        str(free_port()),
        "--ray-client-server-port",
        str(free_port()),
        "--temp-dir",
        str(session),
        "--num-cpus",
        f"{head[0]:g}",
        "--num-gpus",
        f"{head[1]:g}",
    ]
    options = {"env": environment, "cwd": str(folder)}
    cluster = RayCluster(f"http://127.0.0.1:{dashboard}", environment, session)
    try:
        with contextlib.ExitStack() as stack:
            stack.callback(lambda: [process.kill() for process in cluster.processes()])
            stack.enter_context(process(command, folder / "head.log", **options))
            _wait_until(
                lambda: _answers(f"{cluster.jobs}/api/version", expected=(200, 401)),
                folder / "head.log",
            )
            for name, (cpus, gpus) in (workers or {}).items():
                started = [
                    sys.executable,
                    "-c",
                    RAY_WORKER,
                    f"127.0.0.1:{port}",
                    name,
                    str(free_port()),
                    f"{cpus},{gpus}",
                    f"{session}/{name}",
                ]
                stack.enter_context(process(started, folder / f"{name}.log", **options))
                _wait_until(lambda name=name: name in cluster.nodes(), folder / f"{name}.log")
            yield cluster
    finally:
        shutil.rmtree(session, ignore_errors=True)


def _answers(address: str, *, expected: tuple[int, ...] = (200,)) -> bool:
    try:
        with urllib.request.urlopen(address, timeout=2) as answer:
            return answer.status in expected
    except urllib.error.HTTPError as error:
        return error.code in expected
    except OSError:
        return False


def _wait_until(condition: object, log: Path, *, limit_s: float = 120.0) -> None:
    until = time.monotonic() + limit_s
    while not condition():  # type: ignore[operator]
        if time.monotonic() > until:
            pytest.fail(f"a server did not start: {log.read_text()[-2000:]}")
        time.sleep(0.3)


def content(uri: str, study: str) -> dict[str, object]:
    """Return all that an MLflow server holds of a study, without the numbers that it gives itself:
    runs by key, registered models.
    """
    client = MlflowClient(tracking_uri=uri)
    experiment = client.get_experiment_by_name("refocus")
    assert experiment is not None
    runs = client.search_runs(
        [experiment.experiment_id], f"tags.study = '{study}'", max_results=1000
    )
    keys = {run.info.run_id: run.data.tags["refocus.key"] for run in runs}
    assert len(set(keys.values())) == len(keys), "a run is there twice"
    held: dict[str, object] = {}
    for run in runs:
        histories = {
            name: client.get_metric_history(run.info.run_id, name) for name in run.data.metrics
        }
        held[keys[run.info.run_id]] = {
            "status": run.info.status,
            "times": (run.info.start_time, run.info.end_time),
            "params": run.data.params,
            "tags": {name: keys.get(value, value) for name, value in run.data.tags.items()},
            "metrics": {
                name: sorted((row.step, row.value, row.timestamp) for row in rows)
                for name, rows in histories.items()
            },
            "artifacts": sorted(_artifacts(client, run.info.run_id, "")),
            "datasets": sorted(
                (one.dataset.name, one.dataset.digest) for one in run.inputs.dataset_inputs
            ),
        }
    for model in client.search_registered_models():
        for version in client.search_model_versions(f"name = '{model.name}'"):
            aliases = sorted(
                alias
                for alias, number in model.aliases.items()
                if str(number) == str(version.version)
            )
            key = f"{model.name} {version.tags['refocus.key']}"
            assert key not in held, "a model version is there twice"
            held[key] = (keys.get(version.run_id), aliases, version.tags["label"])
    return held


def _artifacts(client: MlflowClient, run: str, path: str) -> Iterator[str]:
    for item in client.list_artifacts(run, path or None):
        if item.is_dir:
            yield from _artifacts(client, run, item.path)
        elif "__pycache__" not in item.path:
            yield item.path
