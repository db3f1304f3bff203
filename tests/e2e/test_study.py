"""The program as a user starts it: in a process of its own."""

from __future__ import annotations

import contextlib
import html
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import optuna
import psutil
import pytest
from mlflow import MlflowClient

from study.cli import main
from study.command_line import load
from study.data.layouts import bbbc005, bbbc006
from study.record.ledger import level_means, read_events
from tests.conftest import LEVELS

RUN = Path(__file__).resolve().parents[2] / "study" / "run.py"
SMALL = [
    "--dataset.simulate.wells",
    "0",
    "--dataset.levels",
    str(LEVELS),
    "--training.epochs",
    "2",
    "--search.trials",
    "2",
    "--confirm.replicates",
    "1",
    "--sizes.whole",
    "[32]",
    "--sizes.split",
    "64",
    "--sizes.patches",
    "[32]",
    "--evaluation.resolution",
    "32",
]


DIVERGING = """
import itertools, sys
sys.path.insert(0, {root!r})
import search_spaces
from search_spaces.paper import paper
from study.run import main

numbers = itertools.count()

def diverging(hp, sizes):
    point = paper(hp, sizes)
    return point | {{"learning_rate": 1e38}} if next(numbers) == 4 else point  # trial 4

search_spaces.SPACES["paper"] = diverging
sys.exit(main())
"""


def run(*arguments: str, folder: Path) -> subprocess.CompletedProcess[str]:
    return _run_in(folder, *arguments, "--storage", str(folder))


@pytest.fixture(scope="module")
def study(
    raw_folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, subprocess.CompletedProcess[str]]:
    storage = tmp_path_factory.mktemp("results")
    done = run(
        "--config",
        "smoke",
        "--name",
        "small",
        "--dataset.root",
        str(raw_folder),
        *SMALL,
        folder=storage,
    )
    return storage, done


@pytest.mark.slow
def test_a_study_ends_with_its_outcome_report_and_the_way_to_mlflow(
    study: tuple[Path, subprocess.CompletedProcess[str]],
) -> None:
    storage, done = study
    assert done.returncode == 0, done.stdout + done.stderr
    report = storage / "studies" / "small" / "report.html"
    assert report.stat().st_size > 100_000
    assert f"report:  {report}" in done.stdout
    assert f"mlflow server --backend-store-uri sqlite:///{storage / 'mlflow.db'}" in done.stdout
    assert re.search(r"search \d/4 \| .* \| best .* gone, ", done.stdout)
    assert all(
        text in done.stdout
        for text in (
            "unrestored input (test)",
            "paper's whole image",
            "paper's split image",
            "(winner of the search)",
        )
    )
    assert "No claim may rest on these numbers" in done.stdout
    assert load(storage / "studies" / "small" / "config.yaml").search.trials == 2
    assert done.stderr.strip().count("\n") < 5, (
        done.stderr
    )  # what libraries say does not bury what we say


@pytest.mark.slow
def test_the_ledger_keeps_the_test_set_shut_until_it_is_opened_once(
    study: tuple[Path, subprocess.CompletedProcess[str]],
) -> None:
    events = read_events(study[0] / "studies" / "small")
    kinds = [event["event"] for event in events]
    assert kinds.count("test_opened") == 1
    opened = kinds.index("test_opened")
    split = events[0]["split"]
    assert set(split["train"]).isdisjoint(split["test"])
    for position, event in enumerate(events):
        if event["event"] in ("score", "reference") and event["eval_split"] != "paper":
            assert set(event["fields"]) == set(split[event["eval_split"]])
            assert (event["eval_split"] == "test") == (position > opened)
    baselines = {
        event["trial"] for event in events if event["event"] == "trial" and event["baseline"]
    }
    ends = {
        (event["phase"], event["trial"]): event for event in events if event["event"] == "trial_end"
    }
    assert all(
        ends[phase, trial]["status"] == "finished" and ends[phase, trial]["epoch"] == 2
        for phase in ("search", "confirm")
        for trial in baselines
    )
    assert events[-1]["event"] == "study_end"
    assert events[-1]["problems"] == []


@pytest.mark.slow
def test_optuna_and_mlflow_hold_the_same_trials(
    study: tuple[Path, subprocess.CompletedProcess[str]],
) -> None:
    storage, _ = study
    events = read_events(storage / "studies" / "small")
    held = optuna.load_study(
        study_name="small", storage=f"sqlite:///{storage / 'studies' / 'small' / 'optuna.db'}"
    ).trials
    assert len(held) == 4
    finished = {
        event["trial"]
        for event in events
        if event["event"] == "trial_end"
        and event["phase"] == "search"
        and event["status"] == "finished"
    }
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
    } <= set(runs)
    assert {"unrestored input, best affine fit (test)", "upper bound at 64 px (test)"} <= set(runs)
    assert all(run.info.status == "FINISHED" for run in runs.values())
    run = runs["paper's whole image (test, seed 0)"]
    history = client.get_metric_history(run.info.run_id, "level/ssim")
    score = next(
        e for e in events if e["event"] == "score" and e["phase"] == "confirm" and e["trial"] == 0
    )
    assert [(metric.step, metric.value) for metric in history] == list(
        zip(LEVELS, level_means(score, "evaluation", "ssim"), strict=True)
    )
    names = {artifact.path for artifact in client.list_artifacts(run.info.run_id, "figures")}
    assert names == {
        "figures/confirm-0000-0-ssim-by-level.png",
        "figures/confirm-0000-0-restorations.png",
    }


@pytest.mark.slow
def test_the_best_network_restores_an_image_of_ones_own(
    study: tuple[Path, subprocess.CompletedProcess[str]],
    raw_folder: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    folder = str(study[0] / "studies" / "small")
    image = next((raw_folder / bbbc006.PLANE_FOLDER.format(level=3)).iterdir())
    assert main(["restore", folder, str(image), "--out", str(tmp_path)]) == 0
    restored = cv2.imread(str(tmp_path / f"{image.stem}_restored.tif"), cv2.IMREAD_UNCHANGED)
    assert (restored.shape, restored.dtype) == ((520, 696), np.uint16)
    assert main(["restore", folder, str(image), "--out", str(tmp_path), "--trial", "77"]) == 2
    (tmp_path / "note.txt").write_text("no image")
    assert (
        main(
            [
                "restore",
                folder,
                str(image),
                str(tmp_path / "note.txt"),
                "--out",
                str(tmp_path / "none"),
            ]
        )
        == 2
    )
    assert "note.txt is truncated or no image" in capsys.readouterr().err
    assert not (tmp_path / "none").exists()


@pytest.mark.slow
def test_a_name_that_is_taken_is_refused(
    study: tuple[Path, subprocess.CompletedProcess[str]], raw_folder: Path
) -> None:
    again = run(
        "--config",
        "smoke",
        "--name",
        "small",
        "--dataset.root",
        str(raw_folder),
        *SMALL,
        folder=study[0],
    )
    assert again.returncode == 2
    assert "choose another --name" in again.stderr
    assert f"--resume {study[0] / 'studies' / 'small'}" in again.stderr
    assert f"--extend {study[0] / 'studies' / 'small'} --search.trials N" in again.stderr


@pytest.mark.slow
def test_baseline_only_trains_the_two_and_prints_them_beside_the_paper(
    raw_folder: Path, tmp_path: Path
) -> None:
    small = [
        *SMALL[2:6],
        *SMALL[10:],
        "--training.epochs",
        "1",
        "--training.patches_per_image",
        "1",
        "--scaled_down",
        "true",
    ]
    small += ["--evaluation.deconvolved_fields", "1"]
    done = run(
        "--config",
        "baseline_only",
        "--name",
        "two",
        "--dataset.root",
        str(raw_folder),
        *small,
        folder=tmp_path,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    trials = [
        event for event in read_events(tmp_path / "studies" / "two") if event["event"] == "trial"
    ]
    assert sorted((event["phase"], event["label"]) for event in trials) == [
        ("confirm", "paper's split image"),
        ("confirm", "paper's whole image"),
    ]
    text = done.stdout
    assert all(
        f"{name}, true blur, 1 fields (test)" in text
        for name in ("unsharp mask", "Wiener", "Richardson-Lucy")
    )
    assert "Beside the paper's Table 1" in text
    assert all(printed in text for printed in ("0.876", "0.802", "30.277", "26.905"))
    assert all(
        told in text
        for told in (
            "1 epochs instead of 50",
            "10 fields of 5 wells instead of 768 of 384",
            "5 planes instead of 34",
        )
    )


@pytest.mark.slow
def test_a_worker_that_is_killed_is_replaced_and_no_epoch_is_lost_or_doubled(
    raw_folder: Path, tmp_path: Path
) -> None:
    command = [
        sys.executable,
        str(RUN),
        "--config",
        "smoke",
        "--name",
        "shot",
        "--dataset.root",
        str(raw_folder),
        *SMALL,
    ]
    command += ["--training.epochs", "8", "--search.scheduler", "none", "--storage", str(tmp_path)]
    ledger = tmp_path / "studies" / "shot" / "ledger.jsonl"
    with started(command, tmp_path / "out") as process:
        wait_for('"event":"epoch"', ledger)
        workers = [
            child
            for child in psutil.Process(process.pid).children(recursive=True)
            if "Trainable.train" in child.cmdline()[0]
        ]
        workers[-1].kill()
        workers[-1].wait(timeout=30)
        status = process.wait(timeout=600)
    assert status == 0, (tmp_path / "out").read_text()
    epochs: dict[tuple[str, int], list[int]] = {}
    for event in read_events(tmp_path / "studies" / "shot"):
        if event["event"] == "epoch":
            epochs.setdefault((event["phase"], event["trial"]), []).append(event["epoch"])
    assert len(epochs) == 7
    assert set(map(tuple, epochs.values())) == {tuple(range(1, 9))}


@pytest.mark.slow
def test_an_interrupted_study_says_so_and_goes_on_where_it_was(
    raw_folder: Path, tmp_path: Path
) -> None:
    command = [
        sys.executable,
        str(RUN),
        "--config",
        "smoke",
        "--name",
        "cut",
        "--dataset.root",
        str(raw_folder),
        *SMALL,
    ]
    command += ["--training.epochs", "12", "--search.scheduler", "none", "--storage", str(tmp_path)]
    folder = tmp_path / "studies" / "cut"
    with started(command, tmp_path / "out") as process:
        wait_for('"event":"trial_end"', folder / "ledger.jsonl")
        process.send_signal(signal.SIGINT)
        status = process.wait(timeout=120)
    text = (tmp_path / "out").read_text()
    assert status == 130, text
    assert "was interrupted after" in text
    assert f"python study/run.py --resume {folder}" in text
    assert "Traceback" not in text
    before = read_events(folder)
    held = optuna.load_study(study_name="cut", storage=f"sqlite:///{folder / 'optuna.db'}").trials
    assert {trial.state.name for trial in held} <= {"COMPLETE", "FAIL"}  # none is left RUNNING
    assert {trial.user_attrs["reason"] for trial in held if trial.state.name == "FAIL"} == {
        "cancelled"
    }
    kinds = {event["event"] for event in before}
    assert "epoch" in kinds
    assert kinds.isdisjoint({"test_opened", "study_end"})

    done = _run_in(tmp_path, "--resume", str(folder))
    assert done.returncode == 0, done.stdout + done.stderr
    after = read_events(folder)
    assert after[: len(before)] == before
    epochs = [
        (e["phase"], e["trial"], e["replicate"], e["epoch"]) for e in after if e["event"] == "epoch"
    ]
    assert (
        len(epochs) == len(set(epochs)) == 7 * 12
    )  # four searched, three confirmed: each epoch once
    ended = [(e["phase"], e["trial"], e["replicate"]) for e in after if e["event"] == "trial_end"]
    assert len(ended) == len(set(ended)) == 7
    again = _run_in(tmp_path, "--resume", str(folder))  # nothing is left to do
    assert again.returncode == 0, again.stdout + again.stderr
    trained = {"trial", "epoch", "score", "trial_end", "test_opened"}
    assert not trained & {event["event"] for event in read_events(folder)[len(after) :]}


@pytest.mark.slow
@pytest.mark.realdata
def test_a_finished_study_is_extended_by_trials_by_another_data_set_and_by_the_leak(
    raw_folder: Path, realdata: Path, tmp_path: Path
) -> None:
    done = run(
        "--config",
        "smoke",
        "--name",
        "more",
        "--dataset.root",
        str(raw_folder),
        *SMALL,
        folder=tmp_path,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    folder = tmp_path / "studies" / "more"
    before = read_events(folder)
    other = tmp_path / "raw5"
    bbbc005.simulate(other, from_sharp=realdata / "bbbc005", wells=10)
    added = ["--search.trials", "1", "--transfer.root", str(other), "--confirm.leak", "true"]
    done = _run_in(tmp_path, "--extend", str(folder), *added)
    assert done.returncode == 0, done.stdout + done.stderr
    events = read_events(folder)[len(before) :]
    assert [e["trial"] for e in events if e["event"] == "trial" and e["phase"] == "search"] == [4]
    assert [e["trial"] for e in events if e["event"] == "trial" and e["phase"] == "leak"] == [0]
    confirmed = {
        (e["trial"], e["replicate"])
        for e in read_events(folder)
        if e["event"] == "score" and e["phase"] == "confirm"
    }
    asked = {(e["trial"], e["replicate"]): e for e in events if e["event"] == "transfer"}
    assert set(asked) == confirmed
    assert all(
        event["levels"] == list(bbbc005.BLURS) and len(event["fields"]) == 10
        for event in asked.values()
    )
    assert [e["trial"] for e in read_events(folder) if e["event"] == "stitching"]
    page = (folder / "report.html").read_text()
    assert all(
        text in page for text in ("Table 5: by blur level F", "split leaks", "bordering effect")
    )
    refused = _run_in(tmp_path, "--extend", str(folder), "--confirm.seconds", "9")
    assert refused.returncode == 2
    assert "confirm.seconds was None, and is to be 9.0" in refused.stderr
    refused = _run_in(tmp_path, "--extend", str(folder), "--training.epochs", "9")
    assert refused.returncode == 2
    assert "training.epochs cannot change" in refused.stderr


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::sqlalchemy.exc.SAWarning")
def test_a_baseline_that_can_not_run_fails_the_study_and_optuna_holds_what_happened(
    raw_folder: Path, tmp_path: Path
) -> None:
    trials = tmp_path / "studies" / "broken" / "trials"
    trials.mkdir(parents=True)
    for number in (
        "0001",
        "0003",
    ):  # a file where a trial wants its folder: a baseline and a searched trial raise
        (trials / number).write_text("in the way")
    script = tmp_path / "diverging.py"
    script.write_text(DIVERGING.format(root=str(RUN.parents[1])))
    arguments = [
        "--config",
        "smoke",
        "--name",
        "broken",
        "--dataset.root",
        str(raw_folder),
        *SMALL,
        "--search.trials",
        "7",
    ]
    done = _run_in(tmp_path, *arguments, "--storage", str(tmp_path), program=script)
    assert done.returncode == 1, done.stdout + done.stderr
    assert "problem: paper's split image did not run to its end (search, seed 0)" in done.stderr
    ends = {
        e["trial"]: e
        for e in read_events(tmp_path / "studies" / "broken")
        if e["event"] == "trial_end" and e["phase"] == "search"
    }
    assert {trial for trial, end in ends.items() if end["status"] == "failed"} == {1, 3, 4}
    assert ends[4]["reason"].startswith("diverged: the loss of epoch 1 is nan")
    assert sum(end["status"] == "stopped" for end in ends.values()) >= 2
    assert sum(end["status"] == "finished" for end in ends.values()) >= 2
    held = optuna.load_study(
        study_name="broken", storage=f"sqlite:///{tmp_path / 'studies' / 'broken' / 'optuna.db'}"
    ).trials
    told = {"finished": "COMPLETE", "stopped": "PRUNED", "failed": "FAIL"}
    assert [trial.state.name for trial in held] == [
        told[ends[number]["status"]] for number in range(9)
    ]
    epochs = {
        (e["trial"], e["epoch"]): e["objective"]
        for e in read_events(tmp_path / "studies" / "broken")
        if e["event"] == "epoch" and e["phase"] == "search"
    }
    assert (1, 1) in epochs  # trained before it could not write its checkpoint
    assert {
        (trial.number, epoch): value
        for trial in held
        for epoch, value in trial.intermediate_values.items()
    } == epochs
    failed = {
        trial.number: trial.user_attrs["reason"] for trial in held if trial.state.name == "FAIL"
    }
    assert failed == {
        number: end["reason"] for number, end in ends.items() if end["status"] == "failed"
    }
    assert all(
        "in the way" in failed[number]
        or "directory" in failed[number].lower()
        or "exists" in failed[number]
        for number in (1, 3)
    )
    report = html.unescape((tmp_path / "studies" / "broken" / "report.html").read_text())
    assert "paper's split image did not run to its end" in report


def _run_in(folder: Path, *arguments: str, program: Path = RUN) -> subprocess.CompletedProcess[str]:
    environment = {
        key: value
        for key, value in os.environ.items()
        if key not in ("RAY_ADDRESS", "PYTHONPATH", "PYTHONWARNINGS")
    }
    command = [sys.executable, str(program), *arguments]
    return subprocess.run(
        command,
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
    )


@contextlib.contextmanager
def started(
    command: list[str],
    output: Path,
    *,
    environment: dict[str, str] | None = None,
    folder: Path | None = None,
) -> Iterator[subprocess.Popen[bytes]]:
    """Start a program in a session of its own; end it, if it has not ended, when the block does."""
    with output.open("w") as out:
        process = subprocess.Popen(
            command,
            stdout=out,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            env=environment,
            cwd=folder,
        )
    try:
        yield process
    finally:
        if process.poll() is None:
            process.terminate()
            process.wait(timeout=60)


def wait_for(text: str, path: Path) -> None:
    end = time.monotonic() + 300
    while not path.exists() or text not in path.read_text():
        assert time.monotonic() < end, f"{text} did not appear in {path}"
        time.sleep(0.2)


def spoil_plane_missing(root: Path) -> list[str]:
    shutil.rmtree(root / bbbc006.PLANE_FOLDER.format(level=20))
    return ["z-plane 20", "--dataset.levels"]


def spoil_one_field(root: Path) -> list[str]:
    lost = next((root / bbbc006.PLANE_FOLDER.format(level=3)).glob("*a02_s1*"))
    lost.unlink()
    return ["field a02_s1", "z-plane 3"]


def spoil_files(root: Path) -> list[str]:
    paths = [
        sorted((root / bbbc006.PLANE_FOLDER.format(level=level)).iterdir())[level % 5]
        for level in (1, 4)
    ]
    content = paths[0].read_bytes()
    paths[0].unlink()
    paths[0].write_bytes(content[: len(content) // 2])
    paths[1].unlink()
    cv2.imwrite(str(paths[1]), np.zeros((100, 100), np.uint16))
    return [paths[0].name, "truncated", paths[1].name, "(100, 100)", "2 problems"]


def spoil_everything(root: Path) -> list[str]:
    shutil.rmtree(root)
    root.mkdir()
    return ["no image of BBBC006", "refocus simulate bbbc006"]


@pytest.mark.slow
@pytest.mark.parametrize(
    "spoil", [spoil_plane_missing, spoil_one_field, spoil_files, spoil_everything]
)
def test_a_bad_folder_ends_the_study_before_it_begins(
    spoil: object, raw_folder: Path, tmp_path: Path
) -> None:
    root = tmp_path / "raw"
    shutil.copytree(raw_folder, root, copy_function=lambda old, new: Path(new).symlink_to(old))
    told = spoil(root)  # type: ignore[operator]
    done = run(
        "--config",
        "smoke",
        "--dataset.simulate.wells",
        "0",
        "--dataset.root",
        str(root),
        folder=tmp_path,
    )
    assert done.returncode == 2, done.stdout + done.stderr
    assert [text for text in told if text not in done.stderr] == []
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "studies").exists()
    assert [path for path in tmp_path.glob("stores/*") if path.name.startswith(".")] == []


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


@pytest.mark.slow
def test_a_study_does_not_start_where_its_record_can_not_be_kept(
    study: tuple[Path, subprocess.CompletedProcess[str]], raw_folder: Path, tmp_path: Path
) -> None:
    new = ["--config", "smoke", "--name", "new", "--dataset.root", str(raw_folder), *SMALL]
    done = run(*new, "--record.mlflow", "http://127.0.0.1:9", folder=tmp_path)
    assert done.returncode == 2
    assert "MLflow cannot be reached at http://127.0.0.1:9" in done.stderr
    assert "--without-mlflow" in done.stderr
    for number, (spoilt, told) in enumerate(
        [
            (
                lambda text: text.replace('"format":2', '"format":99', 1),
                "written by a newer version",
            ),
            (lambda text: text.replace('"event":"epoch"', '"event":"ep', 1), "has a corrupt line"),
        ]
    ):
        copy = tmp_path / f"copy{number}" / "studies" / "small"
        shutil.copytree(study[0] / "studies" / "small", copy)
        ledger = copy / "ledger.jsonl"
        ledger.write_text(spoilt(ledger.read_text()))
        before = ledger.read_bytes()
        done = _run_in(tmp_path, "--resume", str(copy))
        assert done.returncode == 2
        assert told in done.stderr
        assert ledger.read_bytes() == before
    assert all("Traceback" not in text for text in (done.stdout, done.stderr))
    assert not list(tmp_path.rglob("stores"))  # nothing was spent


@pytest.mark.slow
def test_a_trial_comes_back_from_the_record_alone_number_by_number(
    study: tuple[Path, subprocess.CompletedProcess[str]],
) -> None:
    folder = study[0] / "studies" / "small"

    def repro(
        study: Path, *arguments: str
    ) -> subprocess.CompletedProcess[str]:  # TensorFlow takes its threads once a process
        command = [sys.executable, "-m", "study.cli", "repro", str(study), *arguments]
        return subprocess.run(
            command, cwd=RUN.parents[1], capture_output=True, text=True, timeout=300, check=False
        )

    for arguments in (["0"], ["2"], ["0", "--phase", "confirm"]):
        done = repro(folder, *arguments)
        assert done.returncode == 0, done.stdout + done.stderr
        assert "every number came back" in done.stdout
    lines = (folder / "ledger.jsonl").read_text().splitlines(keepends=True)
    spoilt = folder.parent / "spoilt"
    shutil.copytree(folder, spoilt)
    index = next(
        i for i, line in enumerate(lines) if '"event":"epoch"' in line and '"trial":2' in line
    )
    event = json.loads(lines[index])
    event["metrics"]["loss"] *= 1.0000001
    lines[index] = json.dumps(event) + "\n"
    (spoilt / "ledger.jsonl").write_text("".join(lines))
    done = repro(spoilt, "2")
    assert done.returncode == 1
    assert re.search(r"epoch 1/\d: loss .* the ledger's", done.stdout)
    done = repro(folder, "77")
    assert done.returncode == 2
    assert "holds no epoch of trial 77" in done.stderr


@pytest.mark.slow
def test_a_request_to_end_is_heard_while_steps_are_timed(raw_folder: Path, tmp_path: Path) -> None:
    options = [
        "--config",
        "smoke",
        "--name",
        "ended",
        "--storage",
        str(tmp_path),
        "--dataset.root",
        str(raw_folder),
        *SMALL,
    ]
    ledger, log = tmp_path / "studies" / "ended" / "ledger.jsonl", tmp_path / "log"
    with started([sys.executable, str(RUN), *options, "--confirm.seconds", "5"], log) as process:
        wait_for('"event":"trial_end"', ledger)
        while ledger.read_text().count('"event":"trial_end"') < 4:
            time.sleep(0.2)
        time.sleep(2)
        process.send_signal(signal.SIGTERM)
        assert process.wait(120) == 130, log.read_text()
    assert f"to go on: python study/run.py --resume {ledger.parent}" in log.read_text()
    assert '"event":"timing"' not in ledger.read_text()
    assert '"event":"test_opened"' not in ledger.read_text()


@pytest.mark.slow
def test_a_plan_measures_and_leaves_nothing_behind(raw_folder: Path, tmp_path: Path) -> None:
    options = [
        "--config",
        "smoke",
        "--dataset.root",
        str(raw_folder),
        *SMALL,
        "--storage",
        str(tmp_path),
    ]
    command = [sys.executable, "-m", "study.cli", "plan", *options]
    done = subprocess.run(
        command, cwd=RUN.parents[1], capture_output=True, text=True, timeout=600, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    lines = {
        line[:14].strip(): line[14:]
        for line in done.stdout.splitlines()
        if re.match(r"[a-z ]{13} ", line)
    }
    assert "10 fields at 5 levels: 6 train, 2 validation, 2 test" in lines["images"]
    assert "2 trials and 2 baselines" in lines["search"]
    assert re.search(r"^\d+:\d\d min, \d+ trials? at once", lines["in all"])
    assert lines["fits"] == "yes"
    assert re.search(
        r"paper's whole image +74,881 +\d+\.\d{3} +6 ", done.stdout
    )  # 6 fields at 4 defocused levels, in batches of 4
    assert f"next          python study/run.py {' '.join(options)}" in done.stdout
    assert list(tmp_path.iterdir()) == []


def test_a_configuration_can_be_printed(tmp_path: Path) -> None:
    done = run("--config", "smoke", "--search.trials", "9", "--print_config", folder=tmp_path)
    assert done.returncode == 0
    assert "trials: 9" in done.stdout
