from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from analysis.differences import Difference, against_each, differences
from analysis.load import Study, load_study
from analysis.verdicts import Verdict
from study.config import ConfirmConfig
from study.record.history import History
from study.record.identities import Phase, RunId
from tests.made_up_study import FAITHFUL, SEARCHED, SPLIT, WHOLE, Network, Truth, make_study

SEEDS, WELLS = 3, 10


def of_gain(folder: Path, gain: float, **truth: object) -> tuple[History, tuple[Difference, ...]]:
    """A study in which trial 0002 is `gain` better than the split-image network."""
    ssim = {WHOLE.label: 0.6, SPLIT.label: 0.7, SEARCHED.label: 0.7 + gain}
    history = make_study(folder, Truth(ssim=ssim, **truth))
    return history, differences(load_study(folder))


def scores(history: History, network: Network, *, level: int | None = None) -> np.ndarray:
    """SSIM of confirmed runs, shape (seeds, fields): at a level, or the mean of defocused ones."""
    rows = []
    for seed in range(SEEDS):
        score = history.runs[RunId(Phase.CONFIRM, network.trial, seed)].score
        assert score is not None
        kept = [z != 16 if level is None else z == level for z in score.levels]
        rows.append(np.array(score.evaluation["ssim"])[:, kept].mean(axis=1))
    return np.array(rows)


def test_the_difference_and_its_interval_by_hand(tmp_path: Path) -> None:
    history, [difference] = of_gain(tmp_path, 0.05, fields_per_well=2, difficulty=0.05, noise=0.01)
    names = difference.candidate, difference.baseline, difference.wells, difference.seeds
    assert names == (SEARCHED.label, SPLIT.label, WELLS, SEEDS)
    ours, theirs = (
        scores(history, network).reshape(SEEDS, WELLS, 2).mean(axis=2)
        for network in (SEARCHED, SPLIT)
    )
    by_well = ours.mean(axis=0) - theirs.mean(axis=0)
    parts = [
        by_well.var(ddof=1) / 10,
        ours.mean(axis=1).var(ddof=1) / 3,
        theirs.mean(axis=1).var(ddof=1) / 3,
    ]
    twice = 0.0  # the residual of a two-way analysis of variance, by sums of squares
    for table in (ours, theirs):
        squares = table.var() * 30 - table.mean(axis=1).var() * 30 - table.mean(axis=0).var() * 30
        twice += squares / (9 * 2) / 30
    variance = max(sum(parts) - twice, *parts)
    freedom = variance**2 / (parts[0] ** 2 / 9 + parts[1] ** 2 / 2 + parts[2] ** 2 / 2)
    freedom = max(2, freedom)
    reach = stats.t.ppf(0.975, freedom) * np.sqrt(variance)
    assert (difference.mean, difference.low, difference.high) == pytest.approx(
        (by_well.mean(), by_well.mean() - reach, by_well.mean() + reach)
    )
    of_t = 2 * stats.t.sf(by_well.mean() / np.sqrt(variance), freedom)
    # every well is better: only the two extreme sign patterns reach it
    assert difference.p == pytest.approx(max(of_t, 2 / 2**10))
    assert difference.judgement.verdict == Verdict.BETTER
    assert difference.text == "better than the better baseline"


def test_no_difference_is_said_to_be_none(tmp_path: Path) -> None:
    _, [difference] = of_gain(tmp_path, 0.0)
    assert difference.low < 0 < difference.high
    expected = "the same as the better baseline (within the margin of 0.005)"
    assert difference.text == expected
    config = dataclasses.replace(FAITHFUL, confirm=ConfirmConfig(margin=0.0001))
    _, [narrower] = of_gain(tmp_path / "narrower", 0.0, config=config)
    assert narrower.text == "inconclusive against the better baseline (margin 0.0001)"


def test_too_few_wells_give_no_verdict(tmp_path: Path) -> None:
    _, [difference] = of_gain(tmp_path, 0.05, wells=7)
    assert np.isnan(difference.low)
    assert difference.text.startswith("no verdict: 7 wells")


def test_a_scaled_down_study_gives_no_verdict(tmp_path: Path) -> None:
    config = dataclasses.replace(FAITHFUL, scaled_down=True)
    _, [difference] = of_gain(tmp_path, 0.05, config=config)
    assert difference.text.startswith("no verdict: scaled down")


def test_nothing_is_compared_on_validation(tmp_path: Path) -> None:
    _, none = of_gain(tmp_path, 0.05, seeds=0)
    assert none == ()


def test_the_winner_is_held_against_each_other_at_every_level(complete: Study) -> None:
    table = against_each(complete, SEARCHED.label).set_index(["other", "level"])
    for level in (0, 32):
        ours, theirs = (
            scores(complete.history, network, level=level) for network in (SEARCHED, WHOLE)
        )
        assert table.loc[(WHOLE.label, level), "mean"] == pytest.approx((ours - theirs).mean())
    assert set(table.loc[WHOLE.label].index.dropna()) == {0, 7, 25, 32}
    assert table["seeds"].max() == SEEDS
    assert table.loc[("unrestored input (test)", 32), "low"] > 0
