"""Studies that run in the tests' own process, by the tiny trial, on one Ray for all of them."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from study.record.history import History
from study.record.ledger import read_history
from study.run import main
from tests.programs import small
from tests.servers import local_ray
from tests.tiny_study import TINY


@dataclass(frozen=True)
class Done:
    """What a run of the program has left: exit status, output, and the study's folder."""

    status: int
    out: str
    err: str
    folder: Path

    @property
    def history(self) -> History:
        return read_history(self.folder)


@pytest.fixture(scope="session")
def ray_address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with local_ray(tmp_path_factory.mktemp("ray") / "log") as address:
        yield address


@pytest.fixture
def on_local_ray(ray_address: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Have the program join the tests' Ray, and leave this process's signals as they were."""
    monkeypatch.setenv("RAY_ADDRESS", ray_address)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    before = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, before)


@pytest.fixture
def run_tiny(on_local_ray: None, capsys: pytest.CaptureFixture[str]) -> Callable[..., Done]:
    """Run the program with the tiny trial, in this process; `folder` is the study's."""

    def run(*arguments: str, folder: Path) -> Done:
        capsys.readouterr()
        status = main(arguments, code=TINY)
        said = capsys.readouterr()
        return Done(status, said.out, said.err, folder)

    return run


@pytest.fixture
def run_small(
    run_tiny: Callable[..., Done], raw_folder: Path, tmp_path: Path
) -> Callable[..., Done]:
    """Run a small study of this name in the test's folder; options can be given. It has no mirror
    unless one is asked for.
    """

    def run(name: str, *options: str) -> Done:
        mirror = [] if "--record.mlflow" in options else ["--without-mlflow"]
        arguments = [*small(name, raw=raw_folder, storage=tmp_path), *mirror, *options]
        return run_tiny(*arguments, folder=tmp_path / "studies" / name)

    return run
