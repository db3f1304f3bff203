"""What README.md and the program tell a user to type works as it is printed."""

from __future__ import annotations

import dataclasses
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
import yaml

from analysis import report
from study.cli import main
from study.command_line import parse_run
from study.record.identities import Phase, RunId
from study.record.outcome import CHAMPION, KeptModel, Outcome
from study.trial.restoring import load_restorer
from tests.e2e.conftest import Done
from tests.made_up_study import FAITHFUL, SEARCHED, Truth, make_study
from tests.programs import ROOT
from tests.servers import answers, free_port, process, wait_until
from tests.small_trials import Trained
from tests.study.record.mirror_process import sync

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]
README = (ROOT / "README.md").read_text(encoding="utf-8")
BARE_PATH = "/usr/bin:/bin"  # a shell in which no environment is active
NOT_RUN = {  # how a command begins -> why it is not run here
    "make": "installs everything anew, then runs the demo or this suite",
    ". .venv/bin/activate": "activates what `make` installs",
    "export": "sets up a cluster",
    "patience=": "is an option of the cluster's jobs",
    "ray": "needs a cluster: tests/e2e/test_submitted_jobs.py",
    "cp docker": "makes the file of passwords",
    "docker": "needs Docker: tests/test_docker.py",
    "kubectl": "needs Kubernetes: tests/test_docker.py",
    "python -m analysis.paper_tables": "tests/analysis/test_paper_tables.py",
    "mlflow server": "runs below as the program prints it",
    "refocus repro": "trains with Keras: tests/e2e/test_program.py",
    "refocus sync results/studies/NAME --uri": "needs a server: tests/e2e/test_record.py",
    "refocus simulate": "needs in-focus images: tests/study/data/test_simulate.py",
}


def blocks(language: str) -> list[str]:
    """The code blocks of README.md in this language."""
    return re.findall(rf"^```{language}\n(.*?)^```", README, re.MULTILINE | re.DOTALL)


def commands() -> list[str]:
    """The commands of README.md, without comments."""
    lines = "".join(blocks("sh")).replace("\\\n", " ").splitlines()
    return [shlex.join(words) for line in lines if (words := shlex.split(line, comments=True))]


def starts_in(command: str) -> str | None:
    """How the command begins, if it is one that is not run."""
    plain = command.lstrip("'")
    return next((start for start in NOT_RUN if plain.startswith(start)), None)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder to stand in, which holds results/studies/NAME."""
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "results/studies/NAME"
    make_study(folder, Truth(config=dataclasses.replace(FAITHFUL, name="NAME")))
    config, _ = parse_run(["--config", "smoke", "--name", "NAME"])
    (folder / "config.yaml").write_text(yaml.safe_dump(config.to_dict()), encoding="utf-8")
    return tmp_path


@pytest.mark.usefixtures("home")
def test_every_command_of_the_readme_is_understood_or_there_is_a_reason_why_it_is_not_run() -> None:
    assert {start for command in commands() if (start := starts_in(command))} == set(NOT_RUN)
    left = [command for command in commands() if starts_in(command) is None]
    studies = [one for one in left if one.startswith(("python study/run.py ", "refocus p"))]
    assert len(studies) == 6
    for command in studies:  # whole studies: their words are checked, they are not run
        config, _ = parse_run(shlex.split(command)[2:])
        assert config.name
    assert set(left) - set(studies) == {"refocus sync results/studies/NAME"}
    assert main(["sync", "results/studies/NAME"]) == 0


def test_the_readmes_python_restores_an_image(home: Path, whole_trial: Trained) -> None:
    run = RunId(Phase.CONFIRM, SEARCHED.trial, 0)
    kept = KeptModel(run, CHAMPION, SEARCHED.label, whole_trial.folder)
    folder, uri = home / "results/studies/NAME", f"sqlite:///{home}/results/mlflow.db"
    assert sync(folder, uri, outcome=Outcome(models=[kept])) == 0
    image = np.random.default_rng(0).integers(100, 4000, (60, 80), dtype=np.uint16)
    assert cv2.imwrite(str(home / "image.tif"), image)
    [snippet] = blocks("python")
    code = f"{snippet}\nnp.save('sharp.npy', sharp)\n"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=home, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    expected = load_restorer(whole_trial.folder).restore(image)
    np.testing.assert_allclose(np.load(home / "sharp.npy"), expected, rtol=1e-3)


def test_the_commands_that_the_program_prints_work_where_it_prints_them(
    run_small: Callable[..., Done], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> str:
        raise OSError("no space left")

    with monkeypatch.context() as patched:
        patched.setenv("PATH", BARE_PATH)
        patched.setattr(report, "render_page", fail)
        done = run_small("printed", "--record.mlflow", f"sqlite:///{tmp_path}/mlflow.db")
    shell = {"PATH": BARE_PATH, "HOME": str(tmp_path), "PYTHONPATH": str(ROOT)}
    [server] = re.findall(r"^MLflow:  (.* --port) 5000$", done.out, re.MULTILINE)
    port, log = free_port(), tmp_path / "server.log"
    with process(["bash", "-c", f"exec {server} {port}"], log, env=shell):
        wait_until(lambda: answers(f"http://127.0.0.1:{port}/health"), log)
    [again] = re.findall(r"To try it again: (.*)$", done.err, re.MULTILINE)
    told = subprocess.run(
        ["bash", "-c", again], env=shell, capture_output=True, text=True, check=False
    )
    assert told.returncode == 0, told.stderr
    assert (done.folder / "report.html").is_file()
    assert os.fspath(done.folder) in told.stdout
