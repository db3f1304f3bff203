"""Databases of MLflow's for the tests of the record."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from mlflow import MlflowClient

import study.record.mirror as mirror_module
from tests.study.record.mirror_process import MakeDatabase


@pytest.fixture(autouse=True)
def _short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mirror_module, "PAUSE_S", 0.02)


@pytest.fixture(scope="session")
def made_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database as MLflow makes it, which takes seconds."""
    file = tmp_path_factory.mktemp("mlflow") / "mlflow.db"
    MlflowClient(tracking_uri=f"sqlite:///{file}").search_experiments()
    return file


@pytest.fixture(scope="module")
def uri(made_database: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The database that most tests share, each with a study of its own name."""
    copy = shutil.copy(made_database, tmp_path_factory.mktemp("shared"))
    return f"sqlite:///{copy}"


@pytest.fixture
def make_database(made_database: Path, tmp_path: Path) -> MakeDatabase:
    """An empty database of a test's own."""

    def make(name: str) -> str:
        (tmp_path / name).mkdir()
        return f"sqlite:///{shutil.copy(made_database, tmp_path / name)}"

    return make
