from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from analysis.statistics import Estimate
from analysis.verdicts import Judgement, Verdict, judge_cell, judge_difference

PRINTED = (0.8755, 0.8765)  # as 0.876
TOO_FEW = Estimate(0.9, np.nan, np.nan, np.nan, 5, 1)


def between(low: float, high: float, *, seeds: int = 3, freedom: float = 9) -> Estimate:
    """An estimate by its 95 % interval."""
    error = (high - low) / 2 / stats.t.ppf(0.975, freedom)
    return Estimate((low + high) / 2, low, high, 0.5, 10, seeds, error, freedom)


@pytest.mark.parametrize(
    ("low", "high", "expected", "expected_of_an_error"),
    [
        (0.50, 1.10, Verdict.INCONCLUSIVE, Verdict.INCONCLUSIVE),  # touches, and knows nothing
        (0.8767, 0.8773, Verdict.SAME, Verdict.SAME),  # leaves it out, by nothing to speak of
        (0.8710, 0.8810, Verdict.SAME, Verdict.SAME),
        (0.8690, 0.8830, Verdict.INCONCLUSIVE, Verdict.INCONCLUSIVE),  # too wide for the margin
        (0.80, 0.87, Verdict.WORSE, Verdict.BETTER),
        (0.8766, 0.9, Verdict.BETTER, Verdict.WORSE),
    ],
)
def test_a_cell_is_the_same_only_within_the_margin_of_what_is_printed(
    low: float, high: float, expected: Verdict, expected_of_an_error: Verdict
) -> None:
    ours = between(low, high)
    assert judge_cell("ssim", ours, PRINTED, reason="") == Judgement(expected)
    assert judge_cell("nrmse", ours, PRINTED, reason="") == Judgement(expected_of_an_error)


def test_a_cell_without_a_verdict_says_why() -> None:
    ours = between(0.89, 0.91, seeds=1)
    assert str(judge_cell("ssim", ours, PRINTED, reason="simulated")) == "not comparable: simulated"
    few = judge_cell("ssim", TOO_FEW, PRINTED, reason="")
    assert str(few) == "no verdict: 5 wells, 8 are needed"
    assert str(judge_cell("ssim", ours, PRINTED, reason="")) == "better (one seed)"


@pytest.mark.parametrize(
    ("difference", "p", "expected"),
    [
        (between(0.05, 0.15), 0.01, "better"),
        (between(-0.15, -0.05), 0.01, "worse"),
        (between(0.05, 0.15), 0.06, "inconclusive (margin 0.02 dB)"),  # corrected for others
        (between(-0.05, 0.25), 0.2, "inconclusive (margin 0.02 dB)"),
        (between(-0.01, 0.012), 0.7, "same (within the margin of 0.02 dB)"),
        (between(-0.03, 0.03), 0.9, "inconclusive (margin 0.02 dB)"),
        (between(0.002, 0.012), 0.01, "better (by less than the margin of 0.02 dB)"),
        (
            between(0.05, 0.15, seeds=1),
            0.01,
            "better (one seed: chance between trainings is not counted)",
        ),
        (
            TOO_FEW,
            np.nan,
            "no verdict: 5 wells or scenes in the test set; 8 are needed",
        ),
    ],
)
def test_a_difference_is_judged_by_its_interval_p_and_the_margin(
    difference: Estimate, p: float, expected: str
) -> None:
    judged = judge_difference(difference, p, margin=0.02, unit=" dB", scaled_down=False)
    assert str(judged) == expected
    scaled_down = judge_difference(difference, p, margin=0.02, scaled_down=True)
    assert scaled_down.verdict == Verdict.NONE


def test_the_same_means_that_both_one_sided_tests_reject() -> None:
    """By the two p values, not by the interval."""
    rng, seen = np.random.default_rng(0), set()
    for _ in range(300):
        values = rng.normal(0, 0.01, 12)
        error = stats.sem(values)
        difference = Estimate(values.mean(), np.nan, np.nan, 1.0, 12, 3, error, 11)
        above = stats.ttest_1samp(values, -0.005, alternative="greater").pvalue < 0.05
        below = stats.ttest_1samp(values, 0.005, alternative="less").pvalue < 0.05
        assert difference.inside(-0.005, 0.005) == (above and below)
        seen.add(above and below)
    assert seen == {True, False}


def test_what_a_reader_must_know_stands_beside_the_verdict() -> None:
    judged = judge_difference(
        between(-0.4, 0.2), 0.3, margin=0.02, scaled_down=False, cautions=["1 of 3 collapsed"]
    )
    assert str(judged) == "inconclusive (margin 0.02; 1 of 3 collapsed)"
