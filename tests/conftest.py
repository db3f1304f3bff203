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
from study.data.store import Resolution, Store
from study.trial.task import TrialTask
from tests.small_trials import PATCHES, Trained, task_of, train_small

LEVELS = [12, 14, 16, 18, 20]
RESOLUTIONS = [Resolution(size, "antialiased") for size in (16, 32, 64)]
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
# Ray reads them when it is imported; see `tests.servers.local_ray`
os.environ.setdefault("RAY_AUTH_MODE", "token")
os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))
# Ray's name for: keep to the loopback interface. The program sets it, too; a Ray that was started
# with it is not reached by a process that loaded Ray without it
os.environ.setdefault("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")


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


@pytest.fixture
def make_task(store: Store, tmp_path: Path) -> Callable[..., TrialTask]:
    """Make a small task in a folder of its own; any of its values can be given."""

    def make(**changes: Any) -> TrialTask:
        folder = changes.pop("folder", tmp_path / "trial")
        return task_of(store, Path(folder), **changes)

    return make


@pytest.fixture(scope="session")
def train(store: Store, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Trained]:
    """Run a small task to its end, in a folder of its own; any of its values can be given."""

    def run(**changes: Any) -> Trained:
        return train_small(store, tmp_path_factory.mktemp("trial"), **changes)

    return run


@pytest.fixture(scope="session")
def whole_trial(train: Callable[..., Trained]) -> Trained:
    """Three epochs on whole images; for tests that only read what it left."""
    return train(epochs=3, objective="penalized_ssim")


@pytest.fixture(scope="session")
def patch_trial(train: Callable[..., Trained]) -> Trained:
    """Two epochs on two patches an image, scored on whole images; likewise only to be read."""
    return train(hyperparameters=PATCHES, patches_per_image=2)
