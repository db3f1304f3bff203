"""Raw folders, stores and tasks that many tests stand on."""

from __future__ import annotations

import os
import secrets
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock

from study.config import DatasetConfig
from study.data.layouts import bbbc006
from study.data.prepare import prepare
from study.data.splits import split_by_well
from study.data.store import Resolution, Store
from study.trial.task import TrialTask

LEVELS = [12, 14, 16, 18, 20]
RESOLUTIONS = [Resolution(size, "antialiased") for size in (16, 32, 64)]
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
# Ray reads them when it is imported; see `tests.servers.local_ray`
os.environ.setdefault("RAY_AUTH_MODE", "token")
os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))


def pytest_configure(config: pytest.Config) -> None:
    """Import other people's packages, which warn while they are imported, before a warning is an
    error; xdist's controller, which runs no test, does without them.
    """
    if config.getoption("dist", "no") != "no":
        return
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import keras  # noqa: F401
        import keras_tuner  # noqa: F401
        import mlflow.pyfunc  # noqa: F401
        import ray.tune  # noqa: F401


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the slow tests: the short ones fill the gaps at the end."""
    items.sort(key=lambda item: item.get_closest_marker("slow") is None)


@pytest.fixture(scope="session")
def realdata() -> Path:
    """The folder of real images; tests that need it are skipped where REFOCUS_TEST_DATA is not
    set.
    """
    folder = os.environ.get("REFOCUS_TEST_DATA")
    if folder is None:
        pytest.skip("REFOCUS_TEST_DATA is not set")
    return Path(folder)


@pytest.fixture(scope="session")
def shared_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that all processes of this run of the tests share."""
    own = tmp_path_factory.getbasetemp()
    folder = own.parent if "PYTEST_XDIST_WORKER" in os.environ else own
    return folder / "shared"


@pytest.fixture(scope="session")
def raw_folder(shared_folder: Path) -> Path:
    """A raw BBBC006 folder of 5 wells with 2 fields each, at all 34 planes; only to be read."""
    folder = shared_folder / "bbbc006"
    shared_folder.mkdir(exist_ok=True)
    with FileLock(shared_folder / "bbbc006.lock"):
        if not folder.exists():
            bbbc006.simulate(folder, wells=5, fields_per_well=2, seed=3)
    return folder


@pytest.fixture(scope="session")
def store(raw_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Store:
    """The same at five planes, on resolutions of 16, 32 and 64 px."""
    dataset = DatasetConfig(kind="bbbc006", levels=LEVELS)
    return prepare(dataset, raw_folder, tmp_path_factory.mktemp("stores"), resolutions=RESOLUTIONS)


def task_of(store: Store, folder: Path, **changes: Any) -> TrialTask:
    """Return a small task; any of its values can be given."""
    split = split_by_well(store.wells, test=0.2, validation=0.2, seed=0)
    values: dict[str, Any] = {
        "hyperparameters": {
            "family": "whole",
            "depth": 1,
            "filters": 4,
            "loss": "l1",
            "image_size": 32,
        },
        "store": str(store.folder),
        "folder": str(folder),
        "train_fields": split.train,
        "eval_fields": split.validation,
        "eval_split": "validation",
        "resize": "antialiased",
        "evaluation_size": 32,
        "epochs": 2,
        "batch_size": 8,
        "patches_per_image": None,
        "inference": "whole",
        "rung_images": 3,
        "rung_seed": 1,
        "seed": 5,
        "threads": 1,
    }
    return TrialTask(**(values | changes))


@pytest.fixture
def make_task(store: Store, tmp_path: Path) -> Callable[..., TrialTask]:
    """Make a small task in a folder of its own; any of its values can be given."""

    def make(**changes: Any) -> TrialTask:
        folder = changes.pop("folder", tmp_path / "trial")
        return task_of(store, Path(folder), **changes)

    return make
