"""Real servers for tests: PostgreSQL, MLflow over HTTP and a local Ray, on loopback, each ended by
its process id.
"""

from __future__ import annotations

import contextlib
import os
import pwd
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
from pathlib import Path

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
                *(programs / "initdb", "-D", data, "-U", "refocus"),
                *("--auth", "trust", "--no-sync", "-E", "UTF8"),
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
            wait_until(
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
        wait_until(lambda: answers(f"{address}/health"), log)
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
        started.communicate(timeout=60)  # closes its input, which ends it


def answers(address: str, *, expected: tuple[int, ...] = (200,)) -> bool:
    """Return whether a server answers with one of these statuses."""
    try:
        with urllib.request.urlopen(address, timeout=2) as answer:
            return answer.status in expected
    except urllib.error.HTTPError as error:
        return error.code in expected
    except OSError:
        return False


def wait_until(condition: object, log: Path, *, limit_s: float = 120.0) -> None:
    """Wait until a server has come so far; fail with the end of its log if it does not."""
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
