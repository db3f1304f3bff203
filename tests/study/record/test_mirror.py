from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock
from mlflow import MlflowClient
from mlflow.entities import Param

from study.errors import StudyError
from study.record.events import StudyEnded
from study.record.ledger import FILE_NAME, Ledger
from study.record.mirror import FOLDER, Mirror
from tests.servers import content
from tests.study.record.made_up_events import (
    begun,
    epoch,
    resumed,
    search,
    small_study,
    write_events,
)
from tests.study.record.mirror_process import MakeDatabase, rows, runs_of, sync

UNRESTORED = "unrestored input (validation)"
IMPATIENT_S = 0.1


def statuses(uri: str, study: str) -> dict[str, str]:
    return {name: run.info.status for name, run in runs_of(uri, study).items()}


def test_runs_parameters_and_curves_are_those_of_the_ledger(tmp_path: Path, uri: str) -> None:
    assert sync(write_events(tmp_path / "one", small_study("one")), uri) == 0
    runs = runs_of(uri, "one")
    assert set(runs) == {"one", UNRESTORED, "trial 0", "trial 1"}
    parent = runs.pop("one")
    assert {run.data.tags["mlflow.parentRunId"] for run in runs.values()} == {parent.info.run_id}
    assert statuses(uri, "one") == {
        "one": "FINISHED",
        UNRESTORED: "FINISHED",
        "trial 0": "FINISHED",
        "trial 1": "FAILED",
    }
    assert parent.data.params["training.epochs"] == "50"
    assert parent.data.params["store.fingerprint"] == "f" * 64
    baseline, failed = runs["trial 0"], runs["trial 1"]
    assert (baseline.data.tags["kind"], failed.data.tags["kind"]) == ("baseline", "trial")
    assert failed.data.tags["scaled_down"] == "True"
    assert "patches_per_image" not in failed.data.tags
    assert failed.data.tags["reason"] == "diverged"
    assert baseline.data.params["depth"] == "1"
    assert rows(uri, failed, "loss") == [(1, 1.0), (2, 0.5)]
    assert rows(uri, failed, "cost/parameters") == [(1, 7.0), (2, 7.0)]
    for run in (baseline, runs[UNRESTORED]):  # nan is left out of a mean, inf of the curve
        assert rows(uri, run, "level/ssim") == [(0, 0.5), (16, 1.0), (33, 0.6)]
        assert rows(uri, run, "level/psnr") == [(0, 20.0), (33, 21.0)]
        assert rows(uri, run, "mean/ssim") == [(0, 0.55)]


def test_the_gain_over_the_unrestored_input_is_a_curve_and_the_data_set_is_named(
    tmp_path: Path, uri: str
) -> None:
    sync(write_events(tmp_path / "six", small_study("six")), uri)
    runs = runs_of(uri, "six")
    # the made-up trial is as good as leaving the images alone
    gain = rows(uri, runs["trial 0"], "level/ssim_gain")
    assert gain == [(0, 0.0), (16, 0.0), (33, 0.0)]
    named = {
        name: [(one.dataset.name, one.dataset.digest) for one in run.inputs.dataset_inputs]
        for name, run in runs.items()
    }
    images = [("BBBC006 w1", "f" * 32)]
    assert named == {"six": images, "trial 0": images, "trial 1": images, UNRESTORED: []}


def test_mirroring_again_changes_nothing(tmp_path: Path, uri: str) -> None:
    folder = write_events(tmp_path / "two", small_study("two"))
    sync(folder, uri)
    first = content(uri, "two")
    assert len(first) == 4
    for again in (False, True):
        assert sync(folder, uri, again=again) == 0
        assert content(uri, "two") == first


def test_figures_become_artifacts(tmp_path: Path, uri: str) -> None:
    folder = write_events(tmp_path / "three", small_study("three"))
    figure = tmp_path / "curve.png"
    figure.write_bytes(b"a figure")
    sync(folder, uri, draw=lambda *_: [figure])
    client = MlflowClient(tracking_uri=uri)
    run = runs_of(uri, "three")["trial 0"].info.run_id
    paths = [artifact.path for artifact in client.list_artifacts(run, "figures")]
    assert paths == ["figures/curve.png"]
    downloaded = client.download_artifacts(run, "figures/curve.png", str(tmp_path))
    assert Path(downloaded).read_bytes() == b"a figure"


def test_a_figure_or_an_outcome_that_cannot_be_had_holds_no_number_up(
    tmp_path: Path, uri: str
) -> None:
    folder = write_events(tmp_path / "four", small_study("four"))

    def fail(*_: Any) -> Any:
        raise OSError("no space")

    assert sync(folder, uri, draw=fail, conclude=fail) == 0
    runs = runs_of(uri, "four")
    assert runs["trial 0"].data.tags["figures"] == "not drawn: no space"
    assert runs["four"].data.tags["outcome.problem"] == "not concluded: no space"
    assert statuses(uri, "four")["four"] == "FINISHED"


def test_what_a_server_refused_is_sent_again(
    tmp_path: Path, uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write_events(tmp_path / "five", small_study("five"))
    refused: list[Any] = []

    def refuse(*arguments: Any, **options: Any) -> None:
        refused.append(arguments)
        raise ConnectionError("down")

    with monkeypatch.context() as patched:
        patched.setattr(MlflowClient, "log_batch", refuse)
        assert sync(folder, uri, patience_s=IMPATIENT_S) == 12  # all events wait
    assert refused
    assert sync(folder, uri) == 0
    assert len(content(uri, "five")) == 4


def test_a_server_that_fails_now_and_then_gets_the_same_from_one_mirror(
    tmp_path: Path, uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, events = tmp_path / "live", small_study("live")
    log_batch, failed = MlflowClient.log_batch, set[str]()

    def fail_first(self: MlflowClient, run: str, **what: Any) -> None:
        if not failed >= set(what):
            failed.update(what)
            raise ConnectionError("down")
        log_batch(self, run, **what)

    monkeypatch.setattr(MlflowClient, "log_batch", fail_first)
    mirror = Mirror(folder, uri=uri, experiment="refocus")
    with Ledger(folder) as ledger:
        ledger.append(events[0])
        mirror.start()  # follows while the rest is written
        for event in events[1:]:
            ledger.append(event)
    assert mirror.close() == 0
    assert mirror.close() == 0  # a second time nothing is left to do
    assert mirror.failure == ""
    assert failed == {"params", "metrics", "tags"}
    held = content(uri, "live")
    assert sync(folder, uri, again=True) == 0
    assert content(uri, "live") == held
    assert len(held) == 4


def test_another_mirror_of_the_study_is_waited_for(tmp_path: Path, uri: str) -> None:
    folder = write_events(tmp_path / "locked", small_study("locked"))
    (folder / FOLDER).mkdir()
    mirror = Mirror(folder, uri=uri, experiment="refocus")
    with FileLock(folder / FOLDER / "lock"):
        mirror.start()
        assert mirror.close(patience_s=IMPATIENT_S) == 12
        assert "another process brings this study to MLflow" in mirror.failure
    assert sync(folder, uri) == 0
    assert len(runs_of(uri, "locked")) == 4


def test_a_server_that_cannot_be_reached_is_named_before_anything_starts(tmp_path: Path) -> None:
    for uri in ("sqlite:////proc/nowhere/mlflow.db", "http://127.0.0.1:9"):
        with pytest.raises(StudyError, match=rf"reached at {uri}.*record\.mlflow"):
            Mirror(tmp_path, uri=uri, experiment="refocus").check()


def test_an_experiment_that_was_deleted_is_named_before_anything_starts(
    tmp_path: Path, make_database: MakeDatabase
) -> None:
    uri = make_database("deleted")
    client = MlflowClient(tracking_uri=uri)
    client.delete_experiment(client.create_experiment("refocus"))
    with pytest.raises(StudyError, match="mlflow experiments restore"):
        Mirror(tmp_path, uri=uri, experiment="refocus").check()


def test_no_mirror(tmp_path: Path) -> None:
    write_events(tmp_path, small_study("none"))
    mirror = Mirror(tmp_path, uri=None, experiment="refocus")
    mirror.check()
    mirror.start()
    assert mirror.close() == 0
    assert not (tmp_path / FOLDER).exists()


def test_a_study_that_was_interrupted_leaves_no_run_running_until_it_is_resumed(
    tmp_path: Path, uri: str
) -> None:
    folder, events = tmp_path / "seven", small_study("seven")
    write_events(folder, events[:10])  # trial 1 is under way
    sync(folder, uri)
    others = {UNRESTORED: "FINISHED", "trial 0": "FINISHED"}
    assert statuses(uri, "seven") == others | {"seven": "KILLED", "trial 1": "KILLED"}
    with Ledger(folder) as ledger:
        ledger.append(resumed(1))
        mirror = Mirror(folder, uri=uri, experiment="refocus")
        mirror.start()
        assert mirror.close() == 0  # while the ledger is being written nothing is settled
        assert statuses(uri, "seven") == others | {"seven": "RUNNING", "trial 1": "RUNNING"}
        for event in (*events[10:-1], StudyEnded(run=1, status="finished")):
            ledger.append(event)
    sync(folder, uri)
    assert statuses(uri, "seven") == others | {"seven": "FINISHED", "trial 1": "FAILED"}


def test_what_was_sent_before_is_not_sent_again_unless_the_server_has_lost_it(
    tmp_path: Path, uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write_events(tmp_path / "eight", small_study("eight"))
    sent: list[str] = []
    log_batch = MlflowClient.log_batch

    def count(self: MlflowClient, run: str, **what: Any) -> None:
        sent.append(run)
        log_batch(self, run, **what)

    monkeypatch.setattr(MlflowClient, "log_batch", count)
    sync(folder, uri)
    assert sent
    first, sent[:] = content(uri, "eight"), []
    sync(folder, uri)
    assert not sent
    lost = runs_of(uri, "eight")["trial 1"].info.run_id
    MlflowClient(tracking_uri=uri).delete_run(lost)
    sync(folder, uri)
    assert sent
    assert content(uri, "eight") == first


def test_a_study_of_an_older_version_is_mirrored_also_where_that_version_did_it(
    tmp_path: Path, make_database: MakeDatabase
) -> None:
    uri = make_database("old")
    folder = tmp_path / "before"
    folder.mkdir()
    shutil.copy(Path(__file__).with_name("ledger_format_2.jsonl"), folder / FILE_NAME)
    client = MlflowClient(tracking_uri=uri)
    uid = "b063a71c878f40668c57d5ddb52b073e"  # the study's
    there = client.create_run(
        client.create_experiment("refocus"),
        tags={
            "refocus.key": f"{uid}/search/6/0",
            "refocus.study_uid": uid,
            "study": "before",
            "mlflow.runName": "trial 0006",
        },
    ).info.run_id
    client.log_batch(there, params=[Param("family", "free"), Param("width", "16")])
    assert sync(folder, uri) == 0
    held = content(uri, "before")
    params = held[f"{uid}/search/6/0"]["params"]  # type: ignore[index]
    # what stands there stays, for MLflow lets no parameter be changed
    assert (params["family"], params["width"], params["unet_filters"]) == ("free", "16", "16")
    compared = held[f"{uid}/confirm/residual_unet/1"]
    assert compared["params"]["family"] == "unet"  # type: ignore[index]
    assert "transfer/ssim" in compared["metrics"]  # type: ignore[index]
    lost = f"{uid}/transfer_reference/unrestored input (test)"
    (run,) = client.search_runs(["1"], f"tags.`refocus.key` = '{lost}'")
    client.delete_run(run.info.run_id)
    assert sync(folder, uri) == 0
    assert content(uri, "before") == held


def test_a_run_that_began_is_there_before_it_has_an_epoch(tmp_path: Path, uri: str) -> None:
    first = [*small_study("twelve")[:2], begun(search(0)), epoch(search(0), 1)]
    folder = write_events(tmp_path / "twelve", first[:3])
    sync(folder, uri)
    assert set(runs_of(uri, "twelve")) == {"twelve", UNRESTORED, "trial 0"}
    write_events(folder, [*first, epoch(search(0), 2)])
    sync(folder, uri)  # goes on where the server is
    run = runs_of(uri, "twelve")["trial 0"]
    assert rows(uri, run, "loss") == [(1, 1.0), (2, 0.5)]
