from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient
from mlflow.entities import Run

from study.errors import StudyError
from study.record.ledger import Ledger
from study.record.mirror import Mirror


@pytest.fixture(scope="module")
def uri(tmp_path_factory: pytest.TempPathFactory) -> str:
    return f"sqlite:///{tmp_path_factory.mktemp('mlflow') / 'mlflow.db'}"


def write_study(folder: Path, *, uid: str) -> None:
    """Write the ledger of a study with two trials, one finished and one that failed, and a reference."""
    with Ledger(folder) as ledger:
        environment = {"packages": {"keras": "3"}, "git": None}
        ledger.append(
            "study",
            uid=uid,
            name=folder.name,
            config={"seed": 0, "scaled_down": True, "training": {"patches_per_image": None}},
            store={"fingerprint": "f"},
            environment=environment,
        )
        score = {"levels": [0, 16, 33], "common": {"ssim": [[0.4, 1.0, 0.6], [0.6, 1.0, 0.6]], "psnr": [[20.0, float("inf"), 21.0]]}}
        ledger.append("reference", reference="do-nothing (validation)", judged_on="validation", **score, summary={"ssim": 0.55})
        for trial in range(2):
            key = {"phase": "search", "trial": trial, "replicate": 0}
            about = {"label": f"trial {trial}", "baseline": trial == 0, "judged_on": "validation", "seed": 1, "epochs": 2, "threads": 1}
            ledger.append("trial", **key, **about, hyperparameters={"depth": trial}, folder="x")
            for epoch in (1, 2):
                ledger.append("epoch", **key, epoch=epoch, metrics={"loss": 1 / epoch}, cost={"parameters": 7.0})
            if trial == 0:
                ledger.append("score", **key, judged_on="validation", **score, summary={"ssim": 0.55}, cost={})
            ledger.append(
                "trial_end", **key, status="finished" if trial == 0 else "failed", reason="" if trial == 0 else "diverged", epoch=2
            )
        ledger.append("study_end", status="finished", problems=[])


def runs_of(uri: str, uid: str) -> dict[str, Run]:
    client = MlflowClient(tracking_uri=uri)
    experiment = client.get_experiment_by_name("refocus")
    assert experiment is not None
    return {run.info.run_name: run for run in client.search_runs([experiment.experiment_id], f"tags.`refocus.study_uid` = '{uid}'")}


def sync(folder: Path, uri: str, *, patience_s: float = 60, **options: Any) -> int:
    mirror = Mirror(folder, uri=uri, experiment="refocus", **options)
    mirror.check()
    mirror.start()
    return mirror.close(patience_s=patience_s)


def everything(uri: str, uid: str) -> dict[str, Any]:
    client = MlflowClient(tracking_uri=uri)
    return {
        name: (
            run.info.status,
            run.data.params,
            {
                key: [(metric.step, metric.value, metric.timestamp) for metric in client.get_metric_history(run.info.run_id, key)]
                for key in run.data.metrics
            },
        )
        for name, run in runs_of(uri, uid).items()
    }


def test_runs_parameters_and_curves_are_those_of_the_ledger(tmp_path: Path, uri: str) -> None:
    write_study(tmp_path / "one", uid="one")
    assert sync(tmp_path / "one", uri) == 0
    runs = runs_of(uri, "one")
    assert set(runs) == {"one", "do-nothing (validation)", "trial 0", "trial 1"}
    parent = runs["one"].info.run_id
    assert all(run.data.tags["mlflow.parentRunId"] == parent for name, run in runs.items() if name != "one")
    assert {name: run.info.status for name, run in runs.items()} == {
        "one": "FINISHED", "do-nothing (validation)": "FINISHED", "trial 0": "FINISHED", "trial 1": "FAILED",
    }  # fmt: skip
    assert runs["trial 1"].data.tags["scaled_down"] == "True"
    assert "patches_per_image" not in runs["trial 1"].data.tags
    assert runs["trial 1"].data.tags["reason"] == "diverged"
    assert runs["trial 0"].data.params["depth"] == "0"
    content = everything(uri, "one")
    for name in ("trial 0", "do-nothing (validation)"):
        assert [row[:2] for row in content[name][2]["level/ssim"]] == [(0, 0.5), (16, 1.0), (33, 0.6)]
        assert [row[:2] for row in content[name][2]["level/psnr"]] == [(0, 20.0), (33, 21.0)]  # what is infinite is left out
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
    sync(tmp_path / "three", uri, draw=lambda folder, score: [figure])
    client = MlflowClient(tracking_uri=uri)
    run = runs_of(uri, "three")["trial 0"].info.run_id
    assert [artifact.path for artifact in client.list_artifacts(run, "figures")] == ["figures/curve.png"]
    assert Path(client.download_artifacts(run, "figures/curve.png", str(tmp_path))).read_bytes() == b"a figure"


def test_a_figure_that_can_not_be_drawn_does_not_hold_the_numbers_up(tmp_path: Path, uri: str) -> None:
    write_study(tmp_path / "four", uid="four")

    def fail(folder: Path, score: dict[str, Any]) -> list[Path]:
        raise OSError("no space")

    assert sync(tmp_path / "four", uri, draw=fail) == 0
    assert runs_of(uri, "four")["trial 0"].data.tags["figures"] == "not drawn: no space"


def test_what_a_server_refused_is_sent_again(tmp_path: Path, uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
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
