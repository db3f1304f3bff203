import numpy as np
import pytest

from analysis.statistics import Estimate
from analysis.verdicts import Judgement, Verdict, judge_cell, judge_difference

PRINTED = (0.8765, 0.8775)  # as 0.877
TOO_FEW = Estimate(0.9, np.nan, np.nan, np.nan, 5, 1)


@pytest.mark.parametrize(
    ("low", "high", "expected", "expected_of_an_error"),
    [
        (0.80, 0.8764, Verdict.WORSE, Verdict.BETTER),
        (0.80, 0.8766, Verdict.SAME, Verdict.SAME),
        (0.8774, 0.9, Verdict.SAME, Verdict.SAME),
        (0.8776, 0.9, Verdict.BETTER, Verdict.WORSE),
    ],
)
def test_a_cell_is_judged_by_its_interval_and_the_rounding(
    low: float, high: float, expected: Verdict, expected_of_an_error: Verdict
) -> None:
    ours = Estimate((low + high) / 2, low, high, 0.5, 10, 3)
    assert judge_cell("ssim", ours, PRINTED, reason="") == Judgement(expected)
    assert judge_cell("nrmse", ours, PRINTED, reason="") == Judgement(expected_of_an_error)


def test_a_cell_without_a_verdict_says_why() -> None:
    ours = Estimate(0.9, 0.89, 0.91, 0.5, 10, 1)
    assert str(judge_cell("ssim", ours, PRINTED, reason="simulated")) == "not comparable: simulated"
    few = judge_cell("ssim", TOO_FEW, PRINTED, reason="")
    assert str(few) == "no verdict: 5 wells, 8 are needed"
    assert str(judge_cell("ssim", ours, PRINTED, reason="")) == "better (one seed)"


@pytest.mark.parametrize(
    ("difference", "p", "expected"),
    [
        (Estimate(0.1, 0.05, 0.15, 0.01, 10, 3), 0.01, "better"),
        (Estimate(-0.1, -0.15, -0.05, 0.01, 10, 3), 0.01, "worse"),
        (Estimate(0.1, 0.05, 0.15, 0.01, 10, 3), 0.06, "inconclusive"),  # corrected for others
        (Estimate(0.1, -0.05, 0.25, 0.2, 10, 3), 0.2, "inconclusive"),
        (
            Estimate(0.1, 0.05, 0.15, 0.01, 10, 1),
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
def test_a_difference_is_judged_by_its_interval_and_p(
    difference: Estimate, p: float, expected: str
) -> None:
    assert str(judge_difference(difference, p, scaled_down=False)) == expected
    assert judge_difference(difference, p, scaled_down=True).verdict == Verdict.NONE
