"""What a study stands on: its images, its MLflow server, and the description that opens its
ledger.
"""

from __future__ import annotations

import importlib.metadata
import os
import platform
import subprocess
import sys
import uuid
from pathlib import Path

import yaml

from study.config import ROOT, DatasetConfig, StudyConfig, derive_seed
from study.data.layouts import layout_of
from study.data.prepare import prepare, store_folder
from study.data.store import STORE_FILE, Resolution, Store
from study.errors import StudyError
from study.files import new_file
from study.record.events import StudyBegun
from study.record.facts import Environment, ImageFacts, StoreFacts
from study.trial.device import processor_name
from study.tune.callbacks import Log
from study.workflow.sides import Sides

PACKAGES = (
    "ray",
    "tensorflow",
    "keras",
    "keras-tuner",
    "optuna",
    "mlflow",
    "numpy",
    "opencv-python-headless",
    "scikit-image",
)


def prepare_store(config: StudyConfig, log: Log) -> Store:
    """Simulate the raw folder if that is asked for, and open or make its store."""
    root, wanted = raw_folder(config), config.dataset.simulate
    if config.dataset.root is None and not root.exists():
        layout = layout_of(config.dataset.kind)
        log(f"simulating {wanted.wells} {layout.well_title}s of {layout.title} in {root}")
        simulate_raw(config, root)
    return _prepare(config, config.dataset, root, log)


def prepare_transfer(config: StudyConfig, log: Log) -> Store | None:
    """Open or make the store of the data set that networks are also scored on, prepared as the
    study's own is; None if none is named.
    """
    wanted = config.transfer
    if wanted.root is None:
        return None
    dataset = DatasetConfig(
        kind=wanted.kind,
        root=wanted.root,
        channel=wanted.channel,
        levels=wanted.levels,
        max_fields=wanted.max_fields,
        resize=config.dataset.resize,
        normalisation=config.dataset.normalisation,
    )
    return _prepare(config, dataset, Path(wanted.root), log)


def _prepare(config: StudyConfig, dataset: DatasetConfig, root: Path, log: Log) -> Store:

    def progress(done: int, total: int) -> None:
        if done == total or done % max(1, total // 4) == 0:
            log(f"prepared {done}/{total} fields")

    store = prepare(
        dataset,
        root,
        _stores(config),
        resolutions=resolutions_of(config, dataset),
        progress=progress,
    )
    wells = len(set(store.wells))
    log(
        f"images: {len(store.fields)} fields of {wells} {store.layout.well_title}s at"
        f" {len(store.levels)} levels, store {store.folder} ({store.fingerprint[:12]})"
    )
    return store


def write_config(config: StudyConfig) -> None:
    """Write the configuration as it was resolved beside the results, to be read by
    `study.command_line.load` or ``--config``.
    """
    with new_file(config.folder / "config.yaml") as path:
        path.write_text(yaml.safe_dump(config.to_dict(), sort_keys=False), encoding="utf-8")


def tracking_uri(config: StudyConfig) -> str | None:
    """Return where MLflow is, or None if no mirror is wanted."""
    if config.record.mlflow == "none":
        return None
    return config.record.mlflow or f"sqlite:///{Path(config.storage).resolve() / 'mlflow.db'}"


def describe_study(config: StudyConfig, store: Store, divided: Sides) -> StudyBegun:
    """Return the ledger's first event."""
    sides = divided.split.to_dict()
    return StudyBegun(
        uid=uuid.uuid4().hex,
        name=config.name,
        config=config,
        store=describe_store(store),
        images=describe_images(store, sides),
        split={side: [store.fields[field] for field in fields] for side, fields in sides.items()},
        split_inherited_from=divided.inherited_from,
        environment=describe_environment(),
    )


def describe_store(store: Store) -> StoreFacts:
    """Return where prepared images are, and what they were made from."""
    described = store.description
    return StoreFacts(
        folder=str(store.folder),
        fingerprint=store.fingerprint,
        kind=described["kind"],
        source=described["source"],
        channel=described["channel"],
        levels=store.levels,
        resolutions=described["resolutions"],
    )


def describe_images(store: Store, sides: dict[str, list[int]]) -> ImageFacts:
    """Return what a reader must know of prepared images; `sides` of a split -> fields."""
    layout = store.layout
    return ImageFacts(
        title=layout.title,
        simulated=store.description["simulated"],
        in_focus_level=layout.in_focus_level,
        level_title=layout.level_title,
        level_axis=layout.level_axis,
        level_symbol=layout.level_symbol,
        shown_levels=[level for level in layout.shown_levels if level in store.levels],
        well_title=layout.well_title,
        fields={side: len(fields) for side, fields in sides.items()},
        wells={
            side: len({store.wells[field] for field in fields}) for side, fields in sides.items()
        },
    )


def describe_environment() -> Environment:
    """Return what the program runs on."""
    return Environment(
        command=list(sys.argv),
        python=platform.python_version(),
        platform=platform.platform(),
        processor=processor_name(),
        cpus=os.cpu_count(),
        backend=os.environ.get("KERAS_BACKEND", "tensorflow"),
        packages={name: _version(name) for name in PACKAGES},
        git=_git_state(),
    )


def raw_folder(config: StudyConfig) -> Path:
    """Return the raw folder of a study: the one that is given, or where the simulated one stands or
    will stand.
    """
    if config.dataset.root is not None:
        return Path(config.dataset.root)
    wanted = config.dataset.simulate
    source = "procedural"
    if wanted.from_sharp is not None:  # another folder of the same name is another source
        sharp = Path(wanted.from_sharp)
        names = sorted(path.name for path in sharp.rglob("*"))
        source = f"from-{sharp.name}-{derive_seed(str(sharp.resolve()), *names):08x}"
    name = (
        f"{config.dataset.kind}-{wanted.wells}x{wanted.fields_per_well}-{source}-seed{config.seed}"
    )
    return Path(config.storage).resolve() / "raw" / name


def simulate_raw(config: StudyConfig, root: Path) -> None:
    """Make the raw folder that ``dataset.simulate`` asks for.

    Raises
    ------
    StudyError
        If there is no simulation of this data set, or the request does not suit it.
    """
    wanted = config.dataset.simulate
    sharp = None if wanted.from_sharp is None else Path(wanted.from_sharp)
    layout = layout_of(config.dataset.kind)
    if layout.simulation is None:
        raise StudyError(f"there is no simulation of {layout.title}: give dataset.root")
    layout.simulation.make(
        root,
        wells=wanted.wells,
        fields_per_well=wanted.fields_per_well,
        from_sharp=sharp,
        seed=config.seed,
    )


def is_prepared(config: StudyConfig) -> bool:
    """Return whether the store of a study's images is there already."""
    root = raw_folder(config)
    return (
        root.is_dir()
        and (
            store_folder(
                config.dataset,
                root,
                _stores(config),
                resolutions=resolutions_of(config, config.dataset),
            )
            / STORE_FILE
        ).is_file()
    )


def _stores(config: StudyConfig) -> Path:
    return Path(config.storage).resolve() / "stores"


def resolutions_of(config: StudyConfig, dataset: DatasetConfig) -> list[Resolution]:
    """Return the sizes and resizings that a data set is prepared in: those of the networks, and the
    common one.
    """
    return [Resolution(size, dataset.resize) for size in config.image_sizes] + [
        Resolution(config.evaluation.resolution, "antialiased")
    ]


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _git_state() -> str | None:
    """Return the commit of the program, with `-dirty` behind it if a file was changed.

    Outside a repository it is what REFOCUS_COMMIT says: an image sets it, and a job can.
    """
    command = ["git", "describe", "--always", "--dirty", "--abbrev=40"]
    try:
        done = subprocess.run(
            command, cwd=ROOT, capture_output=True, text=True, timeout=10, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return os.environ.get("REFOCUS_COMMIT") or None
    return done.stdout.strip() or os.environ.get("REFOCUS_COMMIT") or None
