from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from study.config import EvaluationConfig, SearchConfig, StudyConfig
from study.data.splits import Split
from study.data.store import Resolution, Store
from study.errors import StudyError
from study.record.ledger import Ledger
from study.trial.classical import DECONVOLUTIONS
from study.trial.deconvolving import choose_parameter, score_deconvolution
from study.workflow import deconvolutions
from study.workflow.deconvolutions import record_deconvolutions, tuning_fields, tuning_metric
from tests.study.record.made_up_events import study

SPLIT = Split(train=[0, 2, 4, 6, 8], validation=[1, 3], test=[5, 7, 9])
CONFIG = StudyConfig(name="x", evaluation=EvaluationConfig(resolution=32, deconvolved_fields=2))


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Answer every call here, the last first; return what is asked."""
    tasks: list[Any] = []

    def answer(
        resources: object, function: Callable[[Any], Any], given: Sequence[Any]
    ) -> Iterator[tuple[int, Any]]:
        tasks.extend(given)
        for index in reversed(range(len(given))):
            yield index, function(given[index])

    monkeypatch.setattr(deconvolutions, "call_on_cluster", answer)
    return tasks


def record(folder: Path, store: Store, config: StudyConfig = CONFIG) -> Ledger:
    with Ledger(folder) as ledger:
        if not ledger.history.references:
            ledger.append(study())
        record_deconvolutions(config, store, ledger, SPLIT.test, lambda line: None, split=SPLIT)
    return ledger


def test_every_method_is_tuned_on_validation_at_each_level_and_scored_with_it(
    store: Store, tmp_path: Path, asked: list[Any]
) -> None:
    references = record(tmp_path, store).history.references
    assert [one.label for one in sorted(references, key=lambda one: one.name)] == [
        f"{name}, true blur, 2 fields (test)" for name in sorted(DECONVOLUTIONS)
    ]
    evaluation = Resolution(32, "antialiased")
    defocused = [store.levels[index] for index in store.defocused_indices]
    for reference, event in references.items():
        method = DECONVOLUTIONS[reference.name]
        assert list(event.parameters) == defocused
        assert event.parameters[defocused[0]] == choose_parameter(
            method, store, evaluation=evaluation, fields=[1, 3], level=0, metric="ssim"
        )
        alone = score_deconvolution(
            method,
            store,
            evaluation=evaluation,
            fields=[5, 7],
            eval_split="test",
            parameters=event.parameters,
        )
        assert event.fields == alone.fields
        for name, values in alone.evaluation.items():
            np.testing.assert_array_equal(event.evaluation[name], values)
        assert event.summary == pytest.approx(alone.summary, rel=1e-6)


def test_a_study_that_is_resumed_does_not_tune_again(
    store: Store, tmp_path: Path, asked: list[Any]
) -> None:
    few = StudyConfig(name="x", evaluation=EvaluationConfig(resolution=32, deconvolved_fields=1))
    record(tmp_path, store, few)
    assert asked
    asked.clear()
    record(tmp_path, store, few)
    assert asked == []


def test_a_method_that_cannot_be_tuned_is_named(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        deconvolutions, "call_on_cluster", lambda resources, function, tasks: [(3, "no memory")]
    )
    with pytest.raises(StudyError, match="unsharp mask could not be tuned at level 20: no memory"):
        record(tmp_path, store)


def test_no_image_that_is_scored_is_tuned_on() -> None:
    assert tuning_fields(SPLIT, 0, scored=SPLIT.test, held_out=None) == [1, 3]
    without = Split(train=[0, 1, 2, 3, 4, 6, 8], validation=[], test=[5, 7, 9])
    tuned = tuning_fields(without, 0, scored=without.test, held_out=None)
    assert len(tuned) == 4
    assert set(tuned) <= set(without.train)
    held_out = [[0], [], [0, 1], [1], [], [], [], [], [], []]
    for level in (0, 1):
        tuned = tuning_fields(SPLIT, level, scored=[1, 4], held_out=held_out)
        assert len(tuned) == 4
        assert not any(level in held_out[field] for field in tuned)
        assert not {1, 4} & set(tuned)
    everything = tuning_fields(SPLIT, 0, scored=range(10), held_out=held_out)
    assert everything  # nothing else is left
    assert not {0, 2} & set(everything)


def test_parameters_are_chosen_by_the_metric_of_the_first_objective() -> None:
    def chosen(*objectives: Any) -> str:
        return tuning_metric(StudyConfig(name="x", search=SearchConfig(objectives=[*objectives])))

    assert chosen("psnr", "parameters") == "psnr"
    assert chosen("penalized_ssim") == "ssim"
    assert chosen("ssim") == "ssim"
