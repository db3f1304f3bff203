"""The program as a user starts it, with Keras: one small study, and all that it leaves."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import optuna
import pytest
from mlflow import MlflowClient

from study.cli import main
from study.command_line import load
from study.data.layouts import bbbc006
from study.record.events import ReferenceScored, StudyEnded, TestOpened, TrialScored
from study.record.history import History
from study.record.identities import Phase, Role
from study.record.ledger import read_history
from tests.conftest import LEVELS
from tests.programs import ROOT, run, small

pytestmark = pytest.mark.slow


@dataclass(frozen=True)
class Study:
    """A study that has run: what the program said, and its folder."""

    done: subprocess.CompletedProcess[str]
    storage: Path

    @property
    def folder(self) -> Path:
        return self.storage / "studies" / "small"

    @property
    def history(self) -> History:
        return read_history(self.folder)


@pytest.fixture(scope="module")
def study(raw_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Study:
    storage = tmp_path_factory.mktemp("results")
    return Study(run(*small("small", raw=raw_folder, storage=storage), folder=storage), storage)


def test_a_study_ends_with_its_outcome_report_and_the_way_to_mlflow(study: Study) -> None:
    done, storage = study.done, study.storage
    assert done.returncode == 0, done.stdout + done.stderr
    report = study.folder / "report.html"
    assert report.stat().st_size > 100_000
    assert f"report:  {report}" in done.stdout
    assert f"mlflow server --backend-store-uri sqlite:///{storage / 'mlflow.db'}" in done.stdout
    assert re.search(r"search \d/4 \| .* \| best .* elapsed, ", done.stdout)
    for text in (
        "unrestored input (test)",
        "paper's whole image",
        "paper's split image",
        "(winner of the search)",
        "No claim may rest on these numbers",
    ):
        assert text in done.stdout
    assert load(study.folder / "config.yaml").search.trials == 2
    # what libraries say does not bury what we say
    assert done.stderr.strip().count("\n") < 5, done.stderr


def test_the_ledger_keeps_the_test_set_shut_until_it_is_opened_once(study: Study) -> None:
    history = study.history
    [opening] = history.openings
    split = history.study.split
    assert set(split["train"]).isdisjoint(split["test"])
    scores = [event for event in history.events if isinstance(event, TrialScored | ReferenceScored)]
    for score in scores:
        if score.eval_split != "paper":
            assert set(score.fields) == set(split[score.eval_split])
            assert (score.eval_split == "test") == (score.row > opening.row)
    baselines = [run for run in history.runs.values() if run.role == Role.BASELINE]
    assert len(baselines) == 4  # two, in both phases
    assert all(run.finished and max(run.epochs) == 2 for run in baselines)
    last = history.events[-1]
    assert isinstance(last, StudyEnded)
    assert last.problems == []
    assert sum(isinstance(event, TestOpened) for event in history.events) == 1


def test_optuna_and_mlflow_hold_the_same_trials(study: Study) -> None:
    history, storage = study.history, study.storage
    held = optuna.load_study(
        study_name="small", storage=f"sqlite:///{study.folder / 'optuna.db'}"
    ).trials
    assert len(held) == 4
    finished = {run.trial.number for run in history.finished(Phase.SEARCH)}
    assert {trial.number for trial in held if trial.state.name == "COMPLETE"} == finished
    client = MlflowClient(tracking_uri=f"sqlite:///{storage / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("refocus")
    assert experiment is not None
    runs = {run.info.run_name: run for run in client.search_runs([experiment.experiment_id])}
    assert {
        "small",
        "unrestored input (test)",
        "unrestored input (validation)",
        "paper: whole image",
        "paper: split image",
        "unrestored input, best affine fit (test)",
        "upper bound at 64 px (test)",
    } <= set(runs)
    assert all(run.info.status == "FINISHED" for run in runs.values())
    confirmed = next(
        run for run in history.finished(Phase.CONFIRM) if run.label == "paper's whole image"
    )
    assert confirmed.score is not None
    mirrored = runs["paper's whole image (test, seed 0)"].info.run_id
    logged = client.get_metric_history(mirrored, "level/ssim")
    assert [(metric.step, metric.value) for metric in logged] == list(
        zip(LEVELS, confirmed.score.level_means("ssim"), strict=True)
    )
    names = {artifact.path for artifact in client.list_artifacts(mirrored, "figures")}
    assert names == {
        "figures/confirm-0000-0-ssim-by-level.png",
        "figures/confirm-0000-0-restorations.png",
    }


def test_the_best_network_restores_an_image_of_ones_own(
    study: Study, raw_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    image = next((raw_folder / bbbc006.PLANE_FOLDER.format(level=3)).iterdir())
    restore = ["restore", str(study.folder), str(image)]
    # two epochs on a few images: it need not be above the unrestored input
    assert main([*restore, "--anyway", "--out", str(tmp_path)]) == 0
    restored = cv2.imread(str(tmp_path / f"{image.stem}_restored.tif"), cv2.IMREAD_UNCHANGED)
    assert (restored.shape, restored.dtype) == ((520, 696), np.uint16)
    assert main([*restore, "--out", str(tmp_path), "--trial", "77"]) == 2
    note, none = tmp_path / "note.txt", tmp_path / "none"
    note.write_text("no image")
    assert main([*restore, str(note), "--anyway", "--out", str(none)]) == 2
    assert "note.txt is truncated or no image" in capsys.readouterr().err
    assert not none.exists()


def test_a_name_that_is_taken_is_refused(
    study: Study, raw_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["run", *small("small", raw=raw_folder, storage=study.storage)]) == 2
    said = capsys.readouterr().err
    assert "choose another --name" in said
    assert f"--resume {study.folder}" in said
    assert f"--extend {study.folder} --search.trials N" in said


REPRO = """
import json, sys
from study.cli import main
for arguments in json.loads(sys.argv[1]):
    print("status", main(["repro", *arguments]))
"""


def test_a_trial_is_repeated_from_the_record_alone_number_by_number(study: Study) -> None:
    spoilt = study.folder.parent / "spoilt"
    shutil.copytree(study.folder, spoilt)
    lines = (study.folder / "ledger.jsonl").read_text().splitlines(keepends=True)
    index = next(
        i for i, line in enumerate(lines) if '"event":"epoch"' in line and '"trial":2' in line
    )
    event = json.loads(lines[index])
    event["metrics"]["loss"] *= 1.0000001
    lines[index] = json.dumps(event) + "\n"
    (spoilt / "ledger.jsonl").write_text("".join(lines))
    asked = [
        [str(study.folder), "0"],
        [str(study.folder), "2"],
        [str(study.folder), "0", "--phase", "confirm"],
        [str(spoilt), "2"],
        [str(study.folder), "77"],
    ]
    done = subprocess.run(  # a process of its own: TensorFlow takes its threads once
        [sys.executable, "-c", REPRO, json.dumps(asked)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
        check=True,
    )
    said = re.split(r"status (\d)\n", done.stdout)
    assert said[1::2] == ["0", "0", "0", "1", "2"], done.stdout + done.stderr
    assert all("every number came back" in text for text in said[0:6:2])
    assert re.search(r"epoch 1/\d: loss .* the ledger's", said[6])
    assert "holds no epoch of trial 77" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--config", "smoke", "--trainig.epochs", "3"], ["trainig.epochs", "training.epochs"]),
        (
            ["--config", "smoke", "--sizes.patches", "[80]"],
            ["patch size 80", "image size 192", "64, 96, 192"],
        ),
    ],
)
def test_a_bad_configuration_ends_at_once(
    arguments: list[str], told: list[str], tmp_path: Path
) -> None:
    done = run(*arguments, folder=tmp_path)
    assert done.returncode == 2
    assert [text for text in told if text not in done.stderr] == []
    assert "Traceback" not in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_configuration_can_be_printed(tmp_path: Path) -> None:
    done = run("--config", "smoke", "--search.trials", "9", "--print_config", folder=tmp_path)
    assert done.returncode == 0
    assert "trials: 9" in done.stdout
