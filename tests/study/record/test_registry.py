"""What a study found out, as MLflow holds it: the outcome, and the networks to use."""

from __future__ import annotations

import dataclasses
import multiprocessing
import os
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
from mlflow import MlflowClient

from study.models.autoencoder import build
from study.record.events import StudyEnded
from study.record.history import History
from study.record.identities import Phase
from study.record.outcome import CHAMPION, KeptModel, Outcome
from study.trial.checkpoints import save_model
from study.trial.restoring import load_restorer
from study.trial.task import TrialTask
from tests.servers import content
from tests.study.record.made_up_events import confirm, resumed, small_study, write_events
from tests.study.record.mirror_process import (
    MakeDatabase,
    rows,
    runs_of,
    sync,
    sync_when_all_are_there,
)


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a network that a trial could have left."""
    hyperparameters = {
        **{"family": "whole", "depth": 1, "filters": 4, "growth": 2},
        **{"loss": "l1", "image_size": 32},
    }
    folder = tmp_path_factory.mktemp("network")
    keras.utils.set_random_seed(3)
    task = TrialTask(
        hyperparameters=hyperparameters,
        store="",
        folder=str(folder),
        train_fields=[],
        eval_fields=[],
        eval_split="test",
        resize="antialiased",
        evaluation_size=32,
        epochs=1,
        batch_size=1,
        patches_per_image=None,
        inference="whole",
        rung_images=0,
        rung_seed=0,
        seed=0,
        threads=1,
    )
    save_model(build(hyperparameters), task, fingerprint="f")
    return folder


def write_confirmed_study(folder: Path, network: Path) -> Outcome:
    """Write a study that has confirmed a network; return what it has found out."""
    write_events(folder, small_study(folder.name, Phase.CONFIRM))
    (folder / "report.html").write_text("a report")
    kept = [KeptModel(confirm(0), alias, "trial 0", network) for alias in (CHAMPION, "winner")]
    tags, metrics = {"champion": "trial 0"}, {"difference": 0.1, "p": float("nan")}
    return Outcome(tags, metrics, [folder / "report.html"], kept)


def test_two_processes_at_once_leave_everything_once(
    tmp_path: Path, make_database: MakeDatabase
) -> None:
    files = tmp_path / "files"
    files.mkdir()
    for name in ("weights.npz", "model.json"):
        (files / name).write_text("no process here loads it")
    folder, uri, alone = tmp_path / "nine", make_database("shared"), make_database("alone")
    outcome = write_confirmed_study(folder, files)
    context = multiprocessing.get_context("spawn")
    both_are_there = context.Barrier(2)
    options = {"outcome": outcome, "again": True}
    other = context.Process(
        target=sync_when_all_are_there, args=(both_are_there, folder, uri), kwargs=options
    )
    other.start()
    sync_when_all_are_there(both_are_there, folder, uri, outcome=outcome, again=True)
    other.join(120)
    assert other.exitcode == 0
    sync(folder, uri, outcome=outcome, again=True)
    sync(folder, alone, outcome=outcome)
    held = content(uri, "nine")
    assert held == content(alone, "nine")
    models = [key for key in held if key.startswith("refocus-")]
    assert models == ["refocus-nine nine/confirm/0/0"]  # one version of one model
    assert len(held) - len(models) == 4  # runs
    confirmed = [held[f"nine/confirm/{trial}/0"] for trial in (0, 1)]
    assert [len(run["datasets"]) for run in confirmed] == [1, 1]  # type: ignore[index]


LOAD = """
import sys
import mlflow, numpy as np
uri, images, repository, *models = sys.argv[1:]
mlflow.set_tracking_uri(uri)
for number, model in enumerate(models):
    loaded = mlflow.pyfunc.load_model(model)
    np.save(f"restored{number}.npy", loaded.predict(np.load(images)))
import study
# the model brings the code that it needs
assert not study.__file__.startswith(repository), study.__file__
"""


def test_the_best_network_is_registered_once_and_restores_in_a_fresh_process(
    tmp_path: Path, network: Path, make_database: MakeDatabase
) -> None:
    folder, uri = tmp_path / "ten", make_database("models")
    outcome = write_confirmed_study(folder, network)
    for _ in range(2):
        assert sync(folder, uri, outcome=outcome, again=True) == 0
    client = MlflowClient(tracking_uri=uri)
    (version,) = client.search_model_versions("name = 'refocus-ten'")
    parent = runs_of(uri, "ten")["ten"]
    assert parent.data.tags["outcome.champion"] == "trial 0"
    told = {name: value for name, value in parent.data.metrics.items() if "outcome" in name}
    assert told == {"outcome/difference": 0.1}
    reports = client.list_artifacts(parent.info.run_id, "report")
    assert [artifact.path for artifact in reports] == ["report/report.html"]
    images = np.random.default_rng(0).random((2, 40, 50)).astype(np.float32) * 900
    np.save(tmp_path / "images.npy", images)
    script = tmp_path / "load.py"
    script.write_text(LOAD)
    models = [f"models:/refocus-ten@{CHAMPION}", f"models:/refocus-ten/{version.version}"]
    repository = str(Path(__file__).resolve().parents[3])
    arguments = [uri, str(tmp_path / "images.npy"), repository, *models]
    subprocess.run(
        [sys.executable, str(script), *arguments],
        cwd=tmp_path,
        env={name: value for name, value in os.environ.items() if name != "PYTHONPATH"},
        check=True,
        capture_output=True,
    )
    expected = np.stack([load_restorer(network).restore(image) for image in images])
    for number in range(2):
        restored = np.load(tmp_path / f"restored{number}.npy")
        np.testing.assert_array_equal(restored, expected)
    logged = client.download_artifacts(version.run_id, "model", str(tmp_path))
    assert not list(Path(logged).rglob("*.pkl"))
    kept = {path.name for path in Path(logged, "artifacts", "trial").iterdir()}
    assert kept == {"weights.npz", "model.json"}


def test_a_champion_that_is_none_any_more_is_withdrawn(
    tmp_path: Path, network: Path, make_database: MakeDatabase
) -> None:
    uri, folder = make_database("withdrawn"), tmp_path / "fourteen"
    outcome = write_confirmed_study(folder, network)
    sync(folder, uri, outcome=outcome)
    write_events(folder, [resumed(1), StudyEnded(run=1, status="finished")])
    kept = [model for model in outcome.models if model.alias != CHAMPION]
    assert sync(folder, uri, outcome=dataclasses.replace(outcome, models=kept)) == 0
    [held] = MlflowClient(uri).search_registered_models()
    assert set(held.aliases) == {"winner"}


def test_a_study_that_has_ended_twice_is_concluded_as_it_was_each_time(
    tmp_path: Path, uri: str, make_database: MakeDatabase
) -> None:
    folder = write_events(tmp_path / "eleven", small_study("eleven"))

    def conclude(_: Path, history: History) -> Outcome:
        run = history.ends[-1].run
        return Outcome({"champion": f"of run {run}"}, {"difference": run / 10})

    sync(folder, uri, conclude=conclude)
    write_events(folder, [resumed(1), StudyEnded(run=1, status="finished")])
    sync(folder, uri, conclude=conclude)
    replay = make_database("replay")
    sync(folder, replay, conclude=conclude)
    assert content(uri, "eleven") == content(replay, "eleven")
    parent = runs_of(uri, "eleven")["eleven"]
    assert rows(uri, parent, "outcome/difference") == [(0, 0.0), (1, 0.1)]
    assert parent.data.tags["outcome.champion"] == "of run 1"
