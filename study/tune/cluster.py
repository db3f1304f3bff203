"""The cluster: joining it, how many trials it holds at once, and whether each of its nodes sees
what a trial needs.
"""

from __future__ import annotations

import json
import logging
import math
import os
import shutil
import signal
import threading
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from study.config import ROOT, ResourcesConfig, StudyConfig
from study.data.store import Store, open_store
from study.errors import StudyError, raise_all
from study.tune.callbacks import Log


@dataclass(frozen=True)
class Places:
    """How many trials the nodes hold at once.

    Parameters
    ----------
    count : of them.
    binding : the resource that is used up first, CPU or GPU; empty if both are.
    others : how many trials the other resource would hold.
    """

    count: int
    binding: str
    others: int


def connect(log: Log) -> None:
    """Join the cluster that RAY_ADDRESS names (a submitted job finds it set), or start one on this
    machine alone.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("TUNE_DISABLE_AUTO_CALLBACK_LOGGERS", "1")  # the ledger is the record
    os.environ.setdefault("RAY_AIR_NEW_OUTPUT", "0")
    # it looks for those loggers' files
    logging.getLogger("ray.tune.analysis.experiment_analysis").setLevel(logging.ERROR)
    # it names a way to go on that is not ours
    logging.getLogger("ray.tune.tune").setLevel(logging.ERROR)
    variables = _worker_variables()
    terminated = signal.getsignal(signal.SIGTERM)
    if address := os.environ.get("RAY_ADDRESS"):
        variables.pop("PYTHONPATH", None)  # the job's working directory is on every worker's path
        try:
            ray.init(
                address=address,
                runtime_env={"env_vars": variables},
                log_to_driver=False,
                logging_level="WARNING",
            )
        except (ConnectionError, RuntimeError) as error:
            remedy = (
                ". Such an address takes jobs: ray job submit --address ..."
                if address.startswith("http")
                else ""
            )
            raise StudyError(
                f"no Ray cluster answers at RAY_ADDRESS={address}:"
                f" {str(error).splitlines()[0][:200]}{remedy}"
            ) from None
    else:
        ray.init(
            address="local",
            include_dashboard=False,
            runtime_env={"env_vars": variables},
            log_to_driver=False,
            logging_level="WARNING",
        )
    if threading.current_thread() is threading.main_thread():
        # Ray has put its own there, which does not end what waits for the cluster
        signal.signal(signal.SIGTERM, terminated)
    # this process only counts operations: the GPUs are the workers'
    os.environ["CUDA_VISIBLE_DEVICES"] = ""
    resources = ray.cluster_resources()
    nodes = len(_alive())
    log(
        f"cluster: {nodes} node{'s' * (nodes > 1)}, {resources.get('CPU', 0):g} CPUs,"
        f" {resources.get('GPU', 0):g} GPUs"
    )


def node_names() -> dict[str, str]:
    """Return each node's name by Ray's id of it: what `ray start --node-name` gave it, or its
    address; numbered where several share one.
    """
    named = {
        node["NodeID"]: str(node.get("NodeName") or node["NodeManagerAddress"])
        for node in ray.nodes()
    }
    shared = {name for name in named.values() if list(named.values()).count(name) > 1}
    return {key: f"{name}-{key[:6]}" if name in shared else name for key, name in named.items()}


def trials_at_once(resources: ResourcesConfig) -> int:
    """Return how many trials the cluster's nodes hold together; a `StudyError` if none holds
    one.
    """
    return count_places(node_resources(), _needed(resources)).count


def node_rooms(resources: ResourcesConfig) -> list[tuple[int, float]]:
    """Return, for each node that holds trials, how many at once, and its bytes of memory for
    them.
    """
    needed = _needed(resources)
    rooms = [(_room(node, needed), node.get("memory", math.inf)) for node in node_resources()]
    return [(places, memory) for places, memory in rooms if places]


def describe_places(resources: ResourcesConfig) -> str:
    """Say how many trials run at once, and what would let more of them."""
    needed = _needed(resources)
    places = count_places(node_resources(), needed)
    each = " and ".join(f"{need:g} {_noun(name, need)}" for name, need in needed.items())
    said = f"{places.count} trial{'s' * (places.count > 1)} at once, {each} each"
    if places.binding:
        other = next(name for name in needed if name != places.binding)
        said += f"; the {places.binding}s bind: the {other}s would hold {places.others}"
    idle = sum(node.get("GPU", 0) for node in node_resources())
    if idle and "GPU" not in needed:
        said += (
            f"; {idle:g} {_noun('GPU', idle)} of the cluster idle: set resources.gpus_per_trial, to"
            " auto for instance"
        )
    return said


def count_places(nodes: Sequence[Mapping[str, float]], needed: Mapping[str, float]) -> Places:
    """Count the trials that nodes hold at once.

    Parameters
    ----------
    nodes : sequence of mappings
        Each node's resources by Ray's names.
    needed : mapping
        What one trial needs, each above 0.

    Raises
    ------
    StudyError
        If no node has what one trial needs.
    """
    count = sum(_room(node, needed) for node in nodes)
    if not count:
        wanted = " and ".join(f"{need:g} {_noun(name, need)}" for name, need in needed.items())
        held = "; ".join(
            ", ".join(f"{node.get(name, 0):g} {name}s" for name in needed) for node in nodes
        )
        raise StudyError(
            f"a trial needs {wanted} on one node; the nodes have: {held}. Set"
            " resources.cpus_per_trial and resources.gpus_per_trial lower"
        )
    alone = {
        name: sum(_room(node, {name: need}) for node in nodes) for name, need in needed.items()
    }
    binding = min(alone, key=lambda name: alone[name])
    others = max(alone.values())
    return Places(count, binding if others > count else "", others)


def check_nodes(config: StudyConfig, store: Store, log: Log) -> None:
    """Ask every node of a cluster whether it sees the images and the study's folder, before
    anything is trained.

    Nodes that keep a copy of the images (``resources.node_folder``) make it now.

    Raises
    ------
    StudyError
        That names every node that does not, and the path.
    """
    names, alive = node_names(), _alive()
    if len(alive) == 1 and "RAY_ADDRESS" not in os.environ:
        return
    shared = Path(config.storage).resolve()
    probes = {node["NodeID"]: shared / f".seen-{uuid.uuid4().hex}" for node in alive}
    asked = {
        node: (str(store.folder), store.fingerprint, str(probe), config.resources.node_folder)
        for node, probe in probes.items()
    }
    problems = []
    for node, found in _ask_nodes(_look, asked).items():
        if not found and not probes[node].exists():
            found = (
                f"what it writes to {shared} is not seen by the driver: the folder is not shared"
            )
        probes[node].unlink(missing_ok=True)
        if found:
            problems.append(f"node {names[node]}: {found}")
    raise_all(
        problems,
        heading=(
            "Not every node sees what a trial needs. --storage must be a folder that all nodes"
            " share"
        ),
    )
    copied = (
        f", and the images are copied to {config.resources.node_folder} on each"
        if config.resources.node_folder
        else ""
    )
    log(f"nodes: {', '.join(names[node['NodeID']] for node in alive)}; all see {shared}{copied}")


def free_on_nodes(folder: str) -> dict[str, int]:
    """Return the free bytes where a folder stands, or would, on each node's own disk, by the node's
    name.
    """
    names = node_names()
    answers = _ask_nodes(_free_bytes, {node["NodeID"]: (folder,) for node in _alive()})
    return {names[node]: answer for node, answer in answers.items() if isinstance(answer, int)}


def _ask_nodes(
    question: Callable[..., Any], asked: Mapping[str, tuple[Any, ...]]
) -> dict[str, Any]:
    """Ask each node, by Ray's id of it, all at once; an answer is what the function returned there,
    or why it did not.
    """
    remote = ray.remote(num_cpus=0, max_retries=0)(question)
    waiting = {
        node: (
            remote.options(
                scheduling_strategy=NodeAffinitySchedulingStrategy(node, soft=False)
            ).remote(*arguments)
        )
        for node, arguments in asked.items()
    }
    answers: dict[str, Any] = {}
    for node, answer in waiting.items():
        try:
            answers[node] = ray.get(answer)
        except ray.exceptions.RayError as error:
            answers[node] = str(error).strip().splitlines()[-1][:300]
    return answers


def _free_bytes(folder: str) -> int:
    path = Path(folder)
    return shutil.disk_usage(next(one for one in (path, *path.parents) if one.exists())).free


def _look(folder: str, fingerprint: str, probe: str, node_folder: str | None) -> str:
    """Return, on a node, why it cannot serve a study; empty if it can."""
    try:
        store = open_store(folder, node_folder)
        if store.fingerprint != fingerprint:
            return (
                f"the images in {store.folder} are others than those that this study was prepared"
                " with"
            )
        if not Path(probe).parent.is_dir():
            return f"it does not see {Path(probe).parent}"
        Path(probe).touch()
    except StudyError as error:
        return str(error)
    except OSError as error:
        return f"{error.strerror}: {error.filename}"
    return ""


def _room(node: Mapping[str, float], needed: Mapping[str, float]) -> int:
    """Return how many trials a node holds at once."""
    return min(int(node.get(name, 0) / need + 1e-9) for name, need in needed.items())


def _worker_variables() -> dict[str, str]:
    """Return what stands in the environment of every worker."""
    variables = {
        "TF_CPP_MIN_LOG_LEVEL": "3",
        "PYTHONPATH": os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH")))),
    }
    # or the first of several trials on a GPU takes all of its memory
    variables["TF_FORCE_GPU_ALLOW_GROWTH"] = "true"
    if "KERAS_BACKEND" in os.environ:
        variables["KERAS_BACKEND"] = os.environ["KERAS_BACKEND"]
    for name in _variables_of_job():  # whoever submits a job decides; Ray refuses what is set twice
        variables.pop(name, None)
    return variables


def _variables_of_job() -> set[str]:
    """Return the environment variables that were given with the submission of this job, if it is
    one.
    """
    job = json.loads(os.environ.get("RAY_JOB_CONFIG_JSON_ENV_VAR", "{}"))
    return set((job.get("runtime_env") or {}).get("env_vars") or {})


def _alive() -> list[dict[str, Any]]:
    return [node for node in ray.nodes() if node["Alive"]]


def node_resources() -> list[dict[str, float]]:
    """Return the resources of each node that is alive, by Ray's names."""
    return [node["Resources"] for node in _alive()]


def _needed(resources: ResourcesConfig) -> dict[str, float]:
    gpus = 0.0 if resources.gpus_per_trial == "auto" else resources.gpus_per_trial
    return {
        name: need
        for name, need in (("CPU", float(resources.cpus_per_trial)), ("GPU", gpus))
        if need > 0
    }


def _noun(name: str, count: float) -> str:
    return f"{name}s" if count != 1 else name
