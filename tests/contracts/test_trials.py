"""What every trial must do, whatever it trains: a network in Keras, or the filter of the tests."""

from __future__ import annotations

import json
from collections.abc import Callable, Generator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import optuna
import pytest

from search_spaces import SPACES
from search_spaces.baselines import baselines
from search_spaces.bridge import OptunaHyperParameters
from search_spaces.comparators import comparators, initial_configurations
from search_spaces.sizes import Sizes
from study.data.store import Store
from study.errors import TrialFailed
from study.trial import post_hoc_scores, timing, training
from study.trial.task import EpochReport, PostHocTask, TrialTask
from tests import tiny_trial

MakeTask = Callable[..., TrialTask]
SIZES = Sizes(whole=[32], split=64, patches=[32], crops=[16])
DURATIONS = ("seconds", "rung_seconds")
CODES = {
    "keras": (training.run_trial, post_hoc_scores.answer_question, timing.time_steps),
    "tiny": (tiny_trial.run_trial, tiny_trial.answer_question, tiny_trial.time_steps),
}


@pytest.fixture(params=sorted(CODES))
def code(request: pytest.FixtureRequest) -> Any:
    names = ("run_trial", "answer_question", "time_steps")
    return SimpleNamespace(**dict(zip(names, CODES[request.param], strict=True)))


def numbers(reports: list[EpochReport]) -> list[dict[str, float]]:
    """What a trial reports, without how long it took."""
    return [
        {name: value for name, value in report.metrics.items() if name not in DURATIONS}
        for report in reports
    ]


def arrays_of(path: Path) -> list[np.ndarray]:
    with np.load(path, allow_pickle=False) as arrays:
        return [arrays[name] for name in arrays.files]


def test_every_epoch_is_reported_and_the_last_one_scored(code: Any, make_task: MakeTask) -> None:
    task = make_task(epochs=3)
    trial = code.run_trial(task)
    assert isinstance(trial, Generator)
    reports = list(trial)
    assert [report.epoch for report in reports] == [1, 2, 3]
    assert [report.score is None for report in reports] == [True, True, False]
    assert reports[2].metrics["loss"] < reports[0].metrics["loss"]
    rung = {"ssim", "psnr", "objective"}
    assert set(reports[0].metrics) == {"loss", "learning_rate", *DURATIONS, *rung}
    assert set(reports[0].cost) == {"parameters", "gflop", "steps", "training_seconds"}
    assert set(reports[2].cost) == {*reports[0].cost, "latency_ms"}
    score = reports[2].score
    assert score is not None
    store = Store(Path(task.store))
    assert (score.eval_split, score.levels) == ("validation", store.levels)
    assert score.fields == [store.fields[field] for field in task.eval_fields]
    defocused = np.array(score.evaluation["ssim"])[:, store.defocused_indices]
    assert score.summary["ssim"] == pytest.approx(defocused.mean())
    assert score.summary["objective"] == pytest.approx(score.summary["ssim"])


def test_without_a_rung_nothing_is_scored_before_the_end(code: Any, make_task: MakeTask) -> None:
    first, last = list(code.run_trial(make_task(rung_images=0)))
    assert set(first.metrics) == {"loss", "learning_rate", "seconds"}
    assert last.score.summary["objective"] == pytest.approx(last.score.summary["ssim"])


def test_same_seed_same_numbers_and_another_seed_others(
    code: Any, make_task: MakeTask, tmp_path: Path
) -> None:
    first = numbers(list(code.run_trial(make_task(folder=str(tmp_path / "a")))))
    assert numbers(list(code.run_trial(make_task(folder=str(tmp_path / "b"))))) == first
    assert numbers(list(code.run_trial(make_task(folder=str(tmp_path / "c"), seed=6)))) != first


def test_an_interrupted_trial_continues_with_the_same_numbers(
    code: Any, make_task: MakeTask, tmp_path: Path
) -> None:
    straight = list(code.run_trial(make_task(folder=str(tmp_path / "a"), epochs=4)))
    trial = code.run_trial(make_task(folder=str(tmp_path / "b"), epochs=4))
    heard = [next(trial), next(trial), next(trial)]
    trial.close()  # the third report was heard, its checkpoint not written
    resumed = list(code.run_trial(make_task(folder=str(tmp_path / "b"), epochs=4)))
    assert [report.epoch for report in resumed] == [3, 4]
    assert numbers(heard[:2] + resumed) == numbers(straight)
    assert resumed[-1].score == straight[-1].score
    for one, other in zip(
        *(arrays_of(tmp_path / name / "weights.npz") for name in "ab"), strict=True
    ):
        np.testing.assert_array_equal(one, other)


def test_a_trial_that_is_stopped_leaves_its_last_weights(code: Any, make_task: MakeTask) -> None:
    task = make_task(epochs=3)
    trial = code.run_trial(task)
    next(trial), next(trial)
    trial.close()
    folder = Path(task.folder)
    assert sorted(path.name for path in folder.iterdir()) == ["checkpoint.npz", "stopped.npz"]
    progress, *before = arrays_of(folder / "checkpoint.npz")
    stopped = arrays_of(folder / "stopped.npz")
    assert progress[0] == 1
    assert stopped[0].shape == before[0].shape
    assert not np.array_equal(stopped[0], before[0])  # the second epoch's


def test_what_a_finished_trial_leaves(code: Any, make_task: MakeTask) -> None:
    task = make_task()
    list(code.run_trial(task))
    folder = Path(task.folder)
    left = ["checkpoint.npz", "examples.npz", "model.json", "weights.npz"]
    assert sorted(path.name for path in folder.iterdir()) == left
    assert json.loads((folder / "model.json").read_text()) == {
        "hyperparameters": task.hyperparameters,
        "store": Store(Path(task.store)).fingerprint,
        "resize": task.resize,
        "normalisation": task.normalisation,
    }
    with np.load(folder / "examples.npz", allow_pickle=False) as examples:
        assert set(examples.files) == {"defocused", "restored", "in_focus", "levels", "field"}
        assert examples["defocused"].shape == (len(examples["levels"]), 32, 32)
        assert examples["restored"].dtype == np.uint8


def test_a_loss_that_is_not_finite_fails_the_trial(code: Any, make_task: MakeTask) -> None:
    hyperparameters = make_task().hyperparameters | {"learning_rate": 1e38}
    with pytest.raises(TrialFailed, match=r"^diverged: the loss of epoch 1 is "):
        list(code.run_trial(make_task(hyperparameters=hyperparameters)))


@pytest.mark.parametrize("question", ["transfer", "stitching"])
def test_questions_are_answered_from_what_a_trial_left(
    code: Any, make_task: MakeTask, question: str
) -> None:
    task = make_task(
        hyperparameters=baselines(SIZES)["paper's split image"] | {"depth": 1, "filters": 16},
        patches_per_image=1,
    )
    *_, last = code.run_trial(task)
    answer = code.answer_question(
        PostHocTask(
            question=question,
            folder=task.folder,
            store=task.store,
            fields=task.eval_fields,
            levels=[0, 1],
            evaluation_size=task.evaluation_size,
            inference="whole",
            eval_split="validation",
            threads=1,
        )
    )
    json.dumps(answer)  # it becomes a line of the ledger
    if question == "transfer":  # to the images that it was scored on: the same score
        del last.score.summary["objective"]
        for name in ("eval_split", "levels", "fields", "wells"):
            assert answer[name] == getattr(last.score, name)
        assert answer["summary"] == pytest.approx(last.score.summary)
        return
    assert (answer["patch_size"], answer["border_px"]) == (32, 8)
    assert len(answer["fields"]) == len(task.eval_fields)
    for name in ("profile", "border", "inside", "ssim", "psnr"):
        assert set(answer[name]) == {"stitched", "whole"}
    assert answer["profile"]["stitched"][0] != answer["profile"]["whole"][0]  # the seam itself
    assert answer["border"]["stitched"] != answer["border"]["whole"]


def test_steps_are_timed_without_leaving_anything(code: Any, make_task: MakeTask) -> None:
    task = make_task()
    timed = code.time_steps(task)
    images = len(task.train_fields) * len(Store(Path(task.store)).defocused_indices)
    assert timed["steps_per_epoch"] == -(-images // task.batch_size)
    assert timed["seconds_per_step"] > 0
    assert not Path(task.folder).exists()


def test_the_filter_takes_every_configuration_of_the_spaces_and_tells_them_apart(
    make_task: MakeTask, tmp_path: Path
) -> None:
    def drawn(name: str) -> list[dict[str, Any]]:
        study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
        return [SPACES[name](OptunaHyperParameters(study.ask()), SIZES) for _ in range(12)]

    configurations = [
        *baselines(SIZES).values(),
        *initial_configurations(SIZES).values(),
        comparators(SIZES)["residual_unet"][1],
        *(one for name in sorted(SPACES) for one in drawn(name)),
    ]
    scores = []
    for number, hyperparameters in enumerate(configurations):
        folder = str(tmp_path / str(number))
        *_, last = tiny_trial.run_trial(make_task(hyperparameters=hyperparameters, folder=folder))
        scores.append(last.score.summary["objective"])
    assert len(scores) == 30
    assert max(scores) - min(scores) > 0.05
