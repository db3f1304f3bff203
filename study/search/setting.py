"""What a study stands on: its images, its cluster, its MLflow server, and the description that opens its ledger."""

from __future__ import annotations

import importlib.metadata
import logging
import os
import platform
import subprocess
import sys
import uuid
from pathlib import Path
from typing import Any

import ray
import yaml

from study.config import DatasetConfig, ResourcesConfig, StudyConfig, derive_seed
from study.data.layouts import LAYOUTS
from study.data.prepare import prepare
from study.data.simulate import simulate_bbbc005, simulate_bbbc006
from study.data.splits import Split
from study.data.store import Grid, Store
from study.errors import StudyError
from study.files import new_file
from study.record.ledger import FORMAT
from study.search.recording import Say

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("ray", "tensorflow", "keras", "keras-tuner", "optuna", "mlflow", "numpy", "opencv-python-headless", "scikit-image")


def prepare_store(config: StudyConfig, say: Say) -> Store:
    """Simulate the raw folder if that is asked for, and open or make its store."""
    root = _simulated(config, say) if config.dataset.root is None else Path(config.dataset.root)
    return _prepare(config, config.dataset, root, say)


def prepare_transfer(config: StudyConfig, say: Say) -> Store | None:
    """Open or make the store of the data set that networks are also scored on, prepared as the study's own is; None if none is named."""
    wanted = config.transfer
    if wanted.root is None:
        return None
    dataset = DatasetConfig(
        kind=wanted.kind, root=wanted.root, channel=wanted.channel, levels=wanted.levels, max_fields=wanted.max_fields,
        resize=config.dataset.resize,
    )  # fmt: skip
    return _prepare(config, dataset, Path(wanted.root), say)


def _prepare(config: StudyConfig, dataset: DatasetConfig, root: Path, say: Say) -> Store:
    grids = [Grid(size, dataset.resize) for size in config.image_sizes] + [Grid(config.sizes.common, "antialiased")]

    def progress(done: int, total: int) -> None:
        if done == total or done % max(1, total // 4) == 0:
            say(f"prepared {done}/{total} fields")

    store = prepare(dataset, root, Path(config.storage).resolve() / "stores", grids=grids, progress=progress)
    wells = len(set(store.wells))
    say(
        f"images: {len(store.fields)} fields of {wells} {store.layout.well_title}s at {len(store.levels)} levels, "
        f"store {store.folder} ({store.fingerprint[:12]})"
    )
    return store


def write_config(config: StudyConfig) -> None:
    """Write the configuration as it was resolved beside the results, to be read by `study.command_line.load` or ``--config``."""
    with new_file(config.folder / "config.yaml") as path:
        path.write_text(yaml.safe_dump(config.to_dict(), sort_keys=False), encoding="utf-8")


def tracking_uri(config: StudyConfig) -> str | None:
    """Return where MLflow is, or None if no mirror is wanted."""
    if config.record.mlflow == "none":
        return None
    return config.record.mlflow or f"sqlite:///{Path(config.storage).resolve() / 'mlflow.db'}"


def connect(say: Say) -> None:
    """Join the cluster that RAY_ADDRESS names (a submitted job finds it set), or start one on this machine alone."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("TF_FORCE_GPU_ALLOW_GROWTH", "true")  # the driver counts operations: it must not take the workers' memory
    os.environ.setdefault("TUNE_DISABLE_AUTO_CALLBACK_LOGGERS", "1")  # the ledger is the record
    os.environ.setdefault("RAY_AIR_NEW_OUTPUT", "0")
    logging.getLogger("ray.tune.analysis.experiment_analysis").setLevel(logging.ERROR)  # it looks for those loggers' files
    logging.getLogger("ray.tune.tune").setLevel(logging.ERROR)  # it names a way to go on that is not ours
    variables = {"TF_CPP_MIN_LOG_LEVEL": "3", "PYTHONPATH": os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))}
    variables["TF_FORCE_GPU_ALLOW_GROWTH"] = "true"  # or the first of several trials on a GPU takes all of its memory
    if "KERAS_BACKEND" in os.environ:
        variables["KERAS_BACKEND"] = os.environ["KERAS_BACKEND"]
    if address := os.environ.get("RAY_ADDRESS"):
        variables.pop("PYTHONPATH")  # the job's working directory is on every worker's path
        try:
            ray.init(address=address, runtime_env={"env_vars": variables}, log_to_driver=False, logging_level="WARNING")
        except (ConnectionError, RuntimeError) as error:
            raise StudyError(f"no Ray cluster answers at RAY_ADDRESS={address}: {str(error).splitlines()[0][:200]}") from None
    else:
        ray.init(
            address="local", include_dashboard=False, runtime_env={"env_vars": variables},
            log_to_driver=False, logging_level="WARNING",
        )  # fmt: skip
    resources = ray.cluster_resources()
    nodes = sum(1 for node in ray.nodes() if node["Alive"])
    say(f"cluster: {nodes} node{'s' * (nodes > 1)}, {resources.get('CPU', 0):g} CPUs, {resources.get('GPU', 0):g} GPUs")


def trials_at_once(resources: ResourcesConfig) -> int:
    """Return how many trials the cluster's nodes hold together.

    Raises
    ------
    StudyError
        If no node has what one trial needs.
    """
    needed = {name: need for name, need in (("CPU", resources.cpus_per_trial), ("GPU", resources.gpus_per_trial)) if need > 0}
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    places = sum(min(int(node.get(name, 0) / need + 1e-9) for name, need in needed.items()) for node in nodes)
    if not places:
        wanted = " and ".join(f"{need:g} {name}s" for name, need in needed.items())
        held = "; ".join(", ".join(f"{node.get(name, 0):g} {name}s" for name in needed) for node in nodes)
        raise StudyError(
            f"a trial needs {wanted} on one node; the nodes have: {held}. Set resources.cpus_per_trial and resources.gpus_per_trial lower"
        )
    return places


def describe(config: StudyConfig, store: Store, split: Split) -> dict[str, Any]:
    """Return the ledger's first event: all that a reader or a later run needs to know."""
    return {
        "format": FORMAT,
        "uid": uuid.uuid4().hex,
        "name": config.name,
        "config": config.to_dict(),
        **describe_images(store, split.to_dict()),
        "split": {side: [store.fields[field] for field in fields] for side, fields in split.to_dict().items()},
        "environment": describe_environment(),
    }


def describe_images(store: Store, sides: dict[str, list[int]]) -> dict[str, Any]:
    """Return what a reader must know of prepared images: where they are, and what a level and a well are called."""
    return {
        "store": {"folder": str(store.folder), "fingerprint": store.fingerprint, **{
            key: store.description[key] for key in ("kind", "source", "channel", "levels", "grids")
        }},
        "images": {
            "title": store.layout.title,
            "simulated": store.description["simulated"],
            "in_focus_level": store.layout.in_focus_level,
            "level_title": store.layout.level_title,
            "level_axis": store.layout.level_axis,
            "shown_levels": [level for level in store.layout.shown_levels if level in store.levels],
            "well_title": store.layout.well_title,
            "fields": {side: len(fields) for side, fields in sides.items()},
            "wells": {side: len({store.wells[field] for field in fields}) for side, fields in sides.items()},
        },
    }  # fmt: skip


def _processor() -> str:
    """Return the name of the processor, as Linux knows it."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.processor())


def describe_environment() -> dict[str, Any]:
    """Return what the program runs on: command, versions, commit, processors, backend."""
    return {
        "command": sys.argv,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "processor": _processor(),
        "cpus": os.cpu_count(),
        "backend": os.environ.get("KERAS_BACKEND", "tensorflow"),
        "packages": {name: _version(name) for name in PACKAGES},
        "git": _git_state(),
    }


def _simulated(config: StudyConfig, say: Say) -> Path:
    wanted, kind = config.dataset.simulate, config.dataset.kind
    sharp = None if wanted.from_sharp is None else Path(wanted.from_sharp)
    source = "procedural"
    if sharp is not None:  # another folder of the same name is another source
        source = f"from-{sharp.name}-{derive_seed(str(sharp.resolve()), *sorted(path.name for path in sharp.rglob('*'))):08x}"
    root = Path(config.storage).resolve() / "raw" / f"{kind}-{wanted.wells}x{wanted.fields_per_well}-{source}-seed{config.seed}"
    if root.exists():
        return root
    say(f"simulating {wanted.wells} {LAYOUTS[kind].well_title}s of {LAYOUTS[kind].title} in {root}")
    if kind == "bbbc006":
        simulate_bbbc006(root, wells=wanted.wells, fields_per_well=wanted.fields_per_well, from_sharp=sharp, seed=config.seed)
    elif sharp is not None:
        simulate_bbbc005(root, scenes=wanted.wells, from_sharp=sharp)
    return root


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _git_state() -> str | None:
    """Return the commit of the program, with `-dirty` behind it if a file was changed; None outside a repository."""
    command = ["git", "describe", "--always", "--dirty", "--abbrev=40"]
    try:
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() or None
