from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mlflow import MlflowClient
from mlflow.entities import Run

from study.errors import StudyError
from study.record.ledger import Ledger
from study.record.mirror import Mirror
from study.record.outcome import CHAMPION, KeptModel, Outcome
from study.trial.restoring import load_restorer
from study.trial.task import TrialTask
from study.trial.training import run_trial
from tests.servers import content


@pytest.fixture(scope="module")
def uri(tmp_path_factory: pytest.TempPathFactory) -> str:
    return f"sqlite:///{tmp_path_factory.mktemp('mlflow') / 'mlflow.db'}"


def write_study(folder: Path, *, uid: str) -> None:
    """Write the ledger of a study with two trials, one finished and one that failed, and a
    reference.
    """
    with Ledger(folder) as ledger:
        environment = {"packages": {"keras": "3"}, "git": None}
        ledger.append(
            "study",
            uid=uid,
            name=folder.name,
            config={"seed": 0, "scaled_down": True, "training": {"patches_per_image": None}},
            store={
                "fingerprint": "f" * 64,
                "source": "/data",
                "channel": "w1",
                "levels": [0, 16, 33],
            },
            images={"title": "BBBC006", "fields": {"test": 2}},
            environment=environment,
        )
        score = {
            "levels": [0, 16, 33],
            "evaluation": {
                "ssim": [[0.4, 1.0, 0.6], [0.6, 1.0, 0.6]],
                "psnr": [[20.0, float("inf"), 21.0]],
            },
        }
        ledger.append(
            "reference",
            reference="unrestored input (validation)",
            eval_split="validation",
            **score,
            summary={"ssim": 0.55},
        )
        for trial in range(2):
            key = {"phase": "search", "trial": trial, "replicate": 0}
            about = {
                "label": f"trial {trial}",
                "baseline": trial == 0,
                "eval_split": "validation",
                "seed": 1,
                "epochs": 2,
                "threads": 1,
            }
            ledger.append("trial", **key, **about, hyperparameters={"depth": trial}, folder="x")
            for epoch in (1, 2):
                ledger.append(
                    "epoch",
                    **key,
                    epoch=epoch,
                    metrics={"loss": 1 / epoch},
                    cost={"parameters": 7.0},
                )
            if trial == 0:
                ledger.append(
                    "score",
                    **key,
                    eval_split="validation",
                    **score,
                    summary={"ssim": 0.55},
                    cost={},
                )
            ledger.append(
                "trial_end",
                **key,
                status="finished" if trial == 0 else "failed",
                reason="" if trial == 0 else "diverged",
                epoch=2,
            )
        ledger.append("study_end", run=0, status="finished", problems=[])


def runs_of(uri: str, uid: str) -> dict[str, Run]:
    client = MlflowClient(tracking_uri=uri)
    experiment = client.get_experiment_by_name("refocus")
    assert experiment is not None
    return {
        run.info.run_name: run
        for run in client.search_runs(
            [experiment.experiment_id], f"tags.`refocus.study_uid` = '{uid}'"
        )
    }


def sync(folder: Path, uri: str, *, patience_s: float = 60, **options: Any) -> int:
    mirror = Mirror(folder, uri=uri, experiment="refocus", **options)
    mirror.check()
    mirror.start()
    left = mirror.close(patience_s=patience_s)
    print(mirror.failure)  # shown where a test fails
    return left


def everything(uri: str, uid: str) -> dict[str, Any]:
    client = MlflowClient(tracking_uri=uri)
    return {
        name: (
            run.info.status,
            run.data.params,
            {
                key: [
                    (metric.step, metric.value, metric.timestamp)
                    for metric in client.get_metric_history(run.info.run_id, key)
                ]
                for key in run.data.metrics
            },
        )
        for name, run in runs_of(uri, uid).items()
    }


def test_runs_parameters_and_curves_are_those_of_the_ledger(tmp_path: Path, uri: str) -> None:
    write_study(tmp_path / "one", uid="one")
    assert sync(tmp_path / "one", uri) == 0
    runs = runs_of(uri, "one")
    assert set(runs) == {"one", "unrestored input (validation)", "trial 0", "trial 1"}
    parent = runs["one"].info.run_id
    assert all(
        run.data.tags["mlflow.parentRunId"] == parent for name, run in runs.items() if name != "one"
    )
    assert {name: run.info.status for name, run in runs.items()} == {
        "one": "FINISHED",
        "unrestored input (validation)": "FINISHED",
        "trial 0": "FINISHED",
        "trial 1": "FAILED",
    }
    assert runs["trial 1"].data.tags["scaled_down"] == "True"
    assert "patches_per_image" not in runs["trial 1"].data.tags
    assert runs["trial 1"].data.tags["reason"] == "diverged"
    assert runs["trial 0"].data.params["depth"] == "0"
    content = everything(uri, "one")
    for name in ("trial 0", "unrestored input (validation)"):
        assert [row[:2] for row in content[name][2]["level/ssim"]] == [
            (0, 0.5),
            (16, 1.0),
            (33, 0.6),
        ]
        assert [row[:2] for row in content[name][2]["level/psnr"]] == [
            (0, 20.0),
            (33, 21.0),
        ]  # what is infinite is left out
    assert [row[:2] for row in content["trial 1"][2]["loss"]] == [(1, 1.0), (2, 0.5)]


def test_mirroring_twice_changes_nothing(tmp_path: Path, uri: str) -> None:
    write_study(tmp_path / "two", uid="two")
    sync(tmp_path / "two", uri)
    first = everything(uri, "two")
    assert len(first) == 4
    sync(tmp_path / "two", uri)
    assert everything(uri, "two") == first


def test_figures_become_artifacts(tmp_path: Path, uri: str) -> None:
    write_study(tmp_path / "three", uid="three")
    figure = tmp_path / "curve.png"
    figure.write_bytes(b"a figure")
    sync(tmp_path / "three", uri, draw=lambda *_: [figure])
    client = MlflowClient(tracking_uri=uri)
    run = runs_of(uri, "three")["trial 0"].info.run_id
    assert [artifact.path for artifact in client.list_artifacts(run, "figures")] == [
        "figures/curve.png"
    ]
    assert (
        Path(client.download_artifacts(run, "figures/curve.png", str(tmp_path))).read_bytes()
        == b"a figure"
    )


def test_a_figure_that_can_not_be_drawn_does_not_hold_the_numbers_up(
    tmp_path: Path, uri: str
) -> None:
    write_study(tmp_path / "four", uid="four")

    def fail(*_: Any) -> list[Path]:
        raise OSError("no space")

    assert sync(tmp_path / "four", uri, draw=fail) == 0
    assert runs_of(uri, "four")["trial 0"].data.tags["figures"] == "not drawn: no space"


def test_what_a_server_refused_is_sent_again(
    tmp_path: Path, uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_study(tmp_path / "five", uid="five")
    failures = []

    def refuse(*arguments: Any, **options: Any) -> None:
        failures.append(arguments)
        raise ConnectionError("down")

    with monkeypatch.context() as patched:
        patched.setattr(MlflowClient, "log_batch", refuse)
        assert sync(tmp_path / "five", uri, patience_s=3) == 12  # all events wait
    assert failures
    assert sync(tmp_path / "five", uri) == 0
    assert len(runs_of(uri, "five")) == 4


def test_a_server_that_can_not_be_reached_is_named_before_anything_starts(tmp_path: Path) -> None:
    for uri in ("sqlite:////proc/nowhere/mlflow.db", "http://127.0.0.1:9"):
        with pytest.raises(StudyError, match=r"record\.mlflow"):
            Mirror(tmp_path, uri=uri, experiment="refocus").check()


def test_no_mirror(tmp_path: Path) -> None:
    mirror = Mirror(tmp_path, uri=None, experiment="refocus")
    mirror.check()
    mirror.start()
    assert mirror.close() == 0


def test_the_gain_over_doing_nothing_is_a_curve_too_and_the_data_set_is_named(
    tmp_path: Path, uri: str
) -> None:
    write_study(tmp_path / "six", uid="six")
    sync(tmp_path / "six", uri)
    sync(tmp_path / "six", uri, again=True)
    gain = [row[:2] for row in everything(uri, "six")["trial 0"][2]["level/ssim_gain"]]
    assert gain == [
        (0, 0.0),
        (16, 0.0),
        (33, 0.0),
    ]  # the made-up trial is as good as leaving the images alone
    inputs = [
        run.inputs.dataset_inputs
        for run in runs_of(uri, "six").values()
        if run.data.tags["kind"] != "reference"
    ]
    assert [len(logged) for logged in inputs] == [1, 1, 1]
    assert {(logged[0].dataset.name, logged[0].dataset.digest) for logged in inputs} == {
        ("BBBC006 w1", "f" * 32)
    }


def test_a_study_that_was_broken_off_leaves_no_run_running_until_it_goes_on(
    tmp_path: Path, uri: str
) -> None:
    folder = tmp_path / "seven"
    write_study(folder, uid="seven")
    whole = (folder / "ledger.jsonl").read_bytes()
    lines = whole.splitlines(keepends=True)
    begun = [number for number, line in enumerate(lines) if b'"event":"epoch"' in line][
        -1
    ] + 1  # trial 1 is under way
    (folder / "ledger.jsonl").write_bytes(b"".join(lines[:begun]))
    sync(folder, uri)
    assert {name: run.info.status for name, run in runs_of(uri, "seven").items()} == {
        "seven": "KILLED",
        "unrestored input (validation)": "FINISHED",
        "trial 0": "FINISHED",
        "trial 1": "KILLED",
    }
    (folder / "ledger.jsonl").write_bytes(b"".join(lines[:begun]))
    with Ledger(folder) as ledger:
        ledger.append("resumed", run=1)
        mirror = Mirror(folder, uri=uri, experiment="refocus")
        mirror.start()
        assert mirror.close() == 0  # while the ledger is being written nothing is settled
        assert {
            name: run.info.status
            for name, run in runs_of(uri, "seven").items()
            if name in ("seven", "trial 1")
        } == {
            "seven": "RUNNING",
            "trial 1": "RUNNING",
        }
    with (folder / "ledger.jsonl").open("ab") as file:
        file.write(b"".join(lines[begun:]))
    sync(folder, uri)
    statuses = {name: run.info.status for name, run in runs_of(uri, "seven").items()}
    assert statuses == {
        "seven": "FINISHED",
        "unrestored input (validation)": "FINISHED",
        "trial 0": "FINISHED",
        "trial 1": "FAILED",
    }


def test_what_was_sent_before_is_not_sent_again_unless_the_server_has_lost_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "eight"
    write_study(folder, uid="eight")
    sent: list[str] = []
    log_batch = MlflowClient.log_batch

    def count(self: MlflowClient, run: str, **content: Any) -> None:
        sent.append(run)
        log_batch(self, run, **content)

    monkeypatch.setattr(MlflowClient, "log_batch", count)
    sync(folder, f"sqlite:///{tmp_path}/a.db")
    assert sent
    first, sent[:] = everything(f"sqlite:///{tmp_path}/a.db", "eight"), []
    sync(folder, f"sqlite:///{tmp_path}/a.db")
    assert not sent
    client = MlflowClient(tracking_uri=f"sqlite:///{tmp_path}/a.db")
    client.delete_run(runs_of(f"sqlite:///{tmp_path}/a.db", "eight")["trial 1"].info.run_id)
    sync(folder, f"sqlite:///{tmp_path}/a.db")
    assert sent
    assert everything(f"sqlite:///{tmp_path}/a.db", "eight") == first


@pytest.fixture
def trained(make_task: Callable[..., TrialTask]) -> Path:
    """The folder of a trial that has trained."""
    task = make_task()
    list(run_trial(task))
    return Path(task.folder)


def write_confirmed_study(folder: Path, trained: Path) -> Outcome:
    """A study that has confirmed a network; return what it has found out."""
    write_study(folder, uid=folder.name)
    ledger = folder / "ledger.jsonl"
    ledger.write_text(ledger.read_text().replace('"phase":"search"', '"phase":"confirm"'))
    (folder / "report.html").write_text("a report")
    kept = [KeptModel(0, 0, alias, "trial 0", trained) for alias in (CHAMPION, "winner")]
    return Outcome(
        {"champion": "trial 0"},
        {"difference": 0.1, "p": float("nan")},
        [folder / "report.html"],
        kept,
    )


def _sync_in_a_process(folder: Path, uri: str, outcome: Outcome) -> None:
    assert sync(folder, uri, conclude=lambda *_: outcome, again=True) == 0


def test_two_processes_at_once_leave_everything_once(tmp_path: Path, trained: Path) -> None:
    folder, uri = tmp_path / "nine", f"sqlite:///{tmp_path}/mlflow.db"
    outcome = write_confirmed_study(folder, trained)
    context = multiprocessing.get_context("spawn")
    processes = [
        context.Process(target=_sync_in_a_process, args=(folder, uri, outcome)) for _ in range(2)
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join(120)
        assert process.exitcode == 0
    sync(folder, uri, conclude=lambda *_: outcome, again=True)
    sync(folder, f"sqlite:///{tmp_path}/alone/mlflow.db", conclude=lambda *_: outcome)
    held = content(uri, "nine")
    assert held == content(f"sqlite:///{tmp_path}/alone/mlflow.db", "nine")
    assert len([key for key in held if not key.startswith("refocus-")]) == 4  # runs
    assert [key.partition(" ")[0] for key in held if key.startswith("refocus-")] == [
        "refocus-nine"
    ]  # one version of one model
    assert all(
        len(value["datasets"]) == 1
        for key, value in held.items()
        if "confirm/" in key and isinstance(value, dict)
    )


LOAD = """
import sys
import mlflow, numpy as np
mlflow.set_tracking_uri(sys.argv[1])
model = mlflow.pyfunc.load_model(sys.argv[2])
np.save(sys.argv[4], model.predict(np.load(sys.argv[3])))
import study
# the model brings the code that it needs
assert not study.__file__.startswith(sys.argv[5]), study.__file__
"""


def test_the_best_network_is_registered_once_and_restores_in_a_fresh_process(
    tmp_path: Path, trained: Path
) -> None:
    folder, uri = tmp_path / "ten", f"sqlite:///{tmp_path}/mlflow.db"
    outcome = write_confirmed_study(folder, trained)
    for _ in range(2):
        assert sync(folder, uri, conclude=lambda *_: outcome, again=True) == 0
    client = MlflowClient(tracking_uri=uri)
    (version,) = client.search_model_versions("name = 'refocus-ten'")
    parent = runs_of(uri, "ten")["ten"]
    assert (parent.data.tags["outcome.champion"], parent.data.metrics["outcome/difference"]) == (
        "trial 0",
        0.1,
    )
    assert [artifact.path for artifact in client.list_artifacts(parent.info.run_id, "report")] == [
        "report/report.html"
    ]
    images = np.random.default_rng(0).random((2, 40, 50)).astype(np.float32) * 900
    np.save(tmp_path / "images.npy", images)
    script = tmp_path / "load.py"
    script.write_text(LOAD)
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    for reference in (f"models:/refocus-ten@{CHAMPION}", f"models:/refocus-ten/{version.version}"):
        places = [str(tmp_path / name) for name in ("images.npy", "restored.npy")]
        subprocess.run(
            [
                sys.executable,
                str(script),
                uri,
                reference,
                *places,
                str(Path(__file__).resolve().parents[3]),
            ],
            cwd=tmp_path,
            env=environment,
            check=True,
            capture_output=True,
        )
        expected = np.stack([load_restorer(trained).restore(image) for image in images])
        np.testing.assert_array_equal(np.load(tmp_path / "restored.npy"), expected)
    logged = client.download_artifacts(version.run_id, "model", str(tmp_path))
    assert not list(Path(logged).rglob("*.pkl"))
    assert {path.name for path in Path(logged, "artifacts", "trial").iterdir()} == {
        "weights.npz",
        "model.json",
    }


def test_a_study_that_has_ended_twice_is_concluded_as_it_was_each_time(tmp_path: Path) -> None:
    folder, live = tmp_path / "eleven", f"sqlite:///{tmp_path}/live.db"
    write_study(folder, uid="eleven")

    def conclude(folder: Path, run: int) -> Outcome:
        return Outcome({"champion": f"of run {run}"}, {"difference": run / 10})

    sync(folder, live, conclude=conclude)
    with Ledger(folder) as ledger:
        ledger.append("resumed", run=1)
        ledger.append("study_end", run=1, status="finished", problems=[])
    sync(folder, live, conclude=conclude)
    sync(folder, f"sqlite:///{tmp_path}/replay.db", conclude=conclude)
    held = everything(live, "eleven")
    assert held == everything(f"sqlite:///{tmp_path}/replay.db", "eleven")
    assert [row[:2] for row in held["eleven"][2]["outcome/difference"]] == [(0, 0.0), (1, 0.1)]
    assert runs_of(live, "eleven")["eleven"].data.tags["outcome.champion"] == "of run 1"


def test_an_outcome_that_can_not_be_had_holds_no_number_up(tmp_path: Path, uri: str) -> None:
    write_study(tmp_path / "twelve", uid="twelve")

    def fail(*_: Any) -> Outcome:
        raise OSError("no weights there")

    assert sync(tmp_path / "twelve", uri, conclude=fail) == 0
    parent = runs_of(uri, "twelve")["twelve"]
    assert parent.info.status == "FINISHED"
    assert parent.data.tags["outcome.problem"] == "not concluded: no weights there"


def test_an_experiment_that_was_deleted_is_named_before_anything_starts(tmp_path: Path) -> None:
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    client = MlflowClient(tracking_uri=uri)
    client.delete_experiment(client.create_experiment("refocus"))
    with pytest.raises(StudyError, match="mlflow experiments restore"):
        Mirror(tmp_path, uri=uri, experiment="refocus").check()
