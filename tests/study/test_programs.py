from __future__ import annotations

import sys
from pathlib import Path

import pytest

from study.programs import ROOT, call, call_refocus, call_run


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of an environment's programs, which PATH does not hold; we stand beside it."""
    folder = tmp_path / ".venv" / "bin"
    folder.mkdir(parents=True)
    for name in ("python", "mlflow", "refocus"):
        (folder / name).touch(mode=0o755)
    monkeypatch.setattr(sys, "executable", str(folder / "python"))
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    monkeypatch.chdir(tmp_path)
    return folder


def test_a_program_that_the_shell_does_not_find_is_called_by_its_path(
    programs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert call("mlflow") == ".venv/bin/mlflow"
    assert call_refocus() == ".venv/bin/refocus"
    assert call_run() == f".venv/bin/python {ROOT}/study/run.py"
    (tmp_path / "my data").mkdir()
    monkeypatch.chdir(tmp_path / "my data")
    assert call("mlflow") == str(programs / "mlflow")


def test_a_program_that_the_shell_finds_is_called_by_its_name(
    programs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", f"{programs}:/usr/bin:/bin")
    monkeypatch.chdir(ROOT)
    assert (call("mlflow"), call_refocus()) == ("mlflow", "refocus")
    assert call_run() == "python study/run.py"


def test_another_environments_program_on_the_path_is_not_taken_for_ours(
    programs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = tmp_path / "other"
    other.mkdir()
    (other / "mlflow").touch(mode=0o755)
    monkeypatch.setenv("PATH", f"{other}:{programs}")
    assert call("mlflow") == ".venv/bin/mlflow"


def test_a_checkout_without_the_command_is_called_through_python(programs: Path) -> None:
    (programs / "refocus").unlink()
    assert call_refocus() == ".venv/bin/python -m study.cli"
