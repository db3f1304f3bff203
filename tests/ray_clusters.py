"""A real Ray cluster for tests, of several nodes on this machine, on loopback."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import shutil
import sys
import tempfile
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from tests.servers import answers, free_port, process, wait_until

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
        token, family = self.environment["RAY_AUTH_TOKEN"], []
        for one in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                if one.environ().get("RAY_AUTH_TOKEN") == token:
                    family.append(one)
        return family

    def kill(self) -> None:
        """End them all at once: one after another they would wait for each other."""
        for one in self.processes():
            with contextlib.suppress(psutil.NoSuchProcess):
                one.kill()

    def ask(self, method: str, path: str) -> Any:
        """Return what its API answers, decoded from JSON."""
        asked = urllib.request.Request(
            f"{self.jobs}/{path}",
            method=method,
            headers={"Authorization": f"Bearer {self.environment['RAY_AUTH_TOKEN']}"},
        )
        with urllib.request.urlopen(asked, timeout=60) as answer:
            return json.load(answer)

    def nodes(self) -> set[str]:
        """Names of the nodes that have joined."""
        summary = self.ask("GET", "nodes?view=summary")["data"]["summary"]
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
    environment = _environment(modules)
    command = [
        *("ray", "start", "--head", "--block", "--node-name", "head"),
        *("--node-ip-address", "127.0.0.1", "--port", str(port)),
        *("--dashboard-host", "127.0.0.1", "--dashboard-port", str(dashboard)),
        *("--dashboard-agent-listen-port", str(free_port())),
        *("--ray-client-server-port", str(free_port()), "--temp-dir", str(session)),
        *("--num-cpus", f"{head[0]:g}", "--num-gpus", f"{head[1]:g}"),
    ]
    options = {"env": environment, "cwd": str(folder)}
    cluster = RayCluster(f"http://127.0.0.1:{dashboard}", environment, session)
    try:
        with contextlib.ExitStack() as stack:
            stack.enter_context(process(command, folder / "head.log", **options))
            stack.callback(cluster.kill)
            wait_until(
                lambda: answers(f"{cluster.jobs}/api/version", expected=(200, 401)),
                folder / "head.log",
            )
            for name, (cpus, gpus) in (workers or {}).items():
                started = [
                    *(sys.executable, "-c", RAY_WORKER, f"127.0.0.1:{port}", name),
                    *(str(free_port()), f"{cpus},{gpus}", f"{session}/{name}"),
                ]
                stack.enter_context(process(started, folder / f"{name}.log", **options))
                stack.callback(cluster.kill)
                wait_until(lambda name=name: name in cluster.nodes(), folder / f"{name}.log")
            yield cluster
    finally:
        shutil.rmtree(session, ignore_errors=True)


def _environment(modules: Path | None) -> dict[str, str]:
    """What the processes of a new cluster have."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    environment = inherited | {
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN": secrets.token_hex(32),
        "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",  # Ray's name for: keep to the loopback interface
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_prestart_worker_first_driver": "0",  # workers that no job would use
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
    }
    if modules is not None:
        environment["PYTHONPATH"] = str(modules)
    return environment
