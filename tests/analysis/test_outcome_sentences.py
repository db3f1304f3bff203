from __future__ import annotations

import dataclasses
from pathlib import Path

from analysis.differences import differences
from analysis.load import load_study
from analysis.outcome_sentences import verdict_sentences
from analysis.report import outcome_text, write_report
from study.config import ConfirmConfig
from study.record.events import (
    Event,
    StudyEnded,
    StudyResumed,
    TestOpened,
    TrialEnded,
    TrialScored,
)
from study.record.history import History
from study.record.identities import Phase, RunId, TrialStatus
from study.record.ledger import Ledger
from tests.made_up_study import FAITHFUL, SEARCHED, SPLIT, WHOLE, Truth, begun, study_events

ADDED = (
    "Replicates or configurations were added after p was seen (the test set was opened 2 times): p"
    " is optimistic."
)
ONE_SPLIT = "All of it rests on one split of the wells."


def written(folder: Path, events: list[Event]) -> History:
    with Ledger(folder) as ledger:
        for event in events:
            ledger.append(event)
        return ledger.history


def in_two_parts(*, ended: bool) -> list[Event]:
    """A study whose last seeds were trained after it was resumed; had it ended before?"""
    events = list(study_events(Truth(ended=False, searched=False)))
    first = [event for event in events if getattr(event, "replicate", 0) < 2]
    last = [event for event in events if getattr(event, "replicate", 0) == 2]
    config, environment = FAITHFUL, begun(Truth()).environment
    opened = TestOpened(opening=1, phase=Phase.CONFIRM, candidates=[WHOLE.trial, SPLIT.trial])
    resumed = StudyResumed(run=1, config=config, environment=environment)
    end = [StudyEnded(status="finished")] if ended else []
    return [*first, *end, resumed, opened, *last, StudyEnded(run=1, status="finished")]


def test_replicates_that_were_added_after_p_was_seen_are_told(tmp_path: Path) -> None:
    written(tmp_path / "added", in_two_parts(ended=True))
    study = load_study(tmp_path / "added")
    assert verdict_sentences(study) == [ONE_SPLIT, ADDED]
    assert ADDED in outcome_text(study)
    assert ADDED in write_report(study).read_text(encoding="utf-8")


def test_a_confirmation_that_was_interrupted_adds_none(tmp_path: Path) -> None:
    written(tmp_path / "interrupted", in_two_parts(ended=False))
    assert verdict_sentences(load_study(tmp_path / "interrupted")) == [ONE_SPLIT]


def test_a_seed_that_failed_does_not_go_missing_from_a_mean(tmp_path: Path) -> None:
    reason, failed = "diverged: the loss of epoch 3 is nan", RunId(Phase.CONFIRM, WHOLE.trial, 2)
    events = [
        dataclasses.replace(event, status=TrialStatus.FAILED, reason=reason)
        if isinstance(event, TrialEnded) and event.run == failed
        else event
        for event in study_events(Truth())
        if not (isinstance(event, TrialScored) and event.run == failed)
    ]
    written(tmp_path, events)
    assert f"1 of 3 seeds of {WHOLE.label} failed ({reason})" in outcome_text(load_study(tmp_path))


def test_a_confirmation_over_splits_says_how_many_it_holds(tmp_path: Path) -> None:
    confirm = ConfirmConfig(replicates=2, splits=3)
    ssim = {WHOLE.label: 0.65, SPLIT.label: 0.7, SEARCHED.label: 0.75}
    config = dataclasses.replace(FAITHFUL, confirm=confirm)
    events = []
    for event in study_events(Truth(config=config, seeds=6, ssim=ssim)):
        if isinstance(event, TrialScored) and event.phase == Phase.CONFIRM:
            # test wells of its own for each split, two of which are the next one's too
            first = 8 * (event.replicate // 2)
            wells = [f"w{first + index}" for index in range(10)]
            event = dataclasses.replace(event, wells=wells, fields=wells)
        events.append(event)
    history = written(tmp_path, events)
    study = load_study(tmp_path)
    images = study.images[study.images["phase"] == Phase.CONFIRM]
    numbers = images.groupby("replicate")["split_number"].unique()
    assert [list(one) for one in numbers] == [[0], [0], [1], [1], [2], [2]]
    # 10 of the 384 wells are tested on
    assert set(images["test_to_train"]) == {10 / 374}
    [difference] = differences(study)
    assert (difference.splits, difference.seeds) == (3, 2)
    gains = []
    for split in range(3):
        means = [
            [
                history.runs[RunId(Phase.CONFIRM, network.trial, seed)].score.summary["ssim"]  # type: ignore[union-attr]
                for seed in (2 * split, 2 * split + 1)
            ]
            for network in (SEARCHED, SPLIT)
        ]
        gains.append(sum(means[0]) / 2 - sum(means[1]) / 2)
    assert abs(difference.mean - sum(gains) / 3) < 1e-6
    [_, sentence] = verdict_sentences(study)
    assert "The intervals hold 3 splits of the wells" in sentence
    assert "favours searched configurations" in sentence
    assert write_report(study).is_file()
