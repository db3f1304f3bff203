"""Verdicts: on a candidate's difference from the better baseline, and on a number beside the one
that the paper printed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from analysis.statistics import MIN_WELLS, Estimate

HIGHER_IS_BETTER = ("psnr", "ssim")
SIGNIFICANCE = 0.05
# What counts as no difference, by metric. SSIM: .005 is what the seed of a training moves it by
# (standard deviation .004), and no eye sees it. PSNR: .2 dB changes the root mean squared error by
# 2.3 %; NRMSE and MSE: about the same, at the .2 and .002 that the paper prints.
MARGINS = {"ssim": 0.005, "psnr": 0.2, "nrmse": 0.005, "mse": 0.0001}


class Verdict(StrEnum):
    """How ours stands beside theirs."""

    BETTER = "better"
    WORSE = "worse"
    INCONCLUSIVE = "inconclusive"
    SAME = "same"
    NOT_COMPARABLE = "not comparable"
    NONE = "no verdict"


@dataclass(frozen=True)
class Judgement:
    """A verdict, and why there is none, why two numbers cannot be compared, or what is not counted.

    Parameters
    ----------
    verdict : Verdict
        The verdict.
    reason : str
        In words; may be empty.
    """

    verdict: Verdict
    reason: str = ""

    def __str__(self) -> str:
        if not self.reason:
            return str(self.verdict)
        if self.verdict in (Verdict.NOT_COMPARABLE, Verdict.NONE):
            return f"{self.verdict}: {self.reason}"
        return f"{self.verdict} ({self.reason})"


def judge_difference(
    difference: Estimate,
    p: float,
    *,
    margin: float,
    scaled_down: bool,
    unit: str = "",
    cautions: Sequence[str] = (),
) -> Judgement:
    """Judge a candidate's difference from the better baseline.

    Better or worse where its interval leaves out 0 and p is below .05; the same only where two
    one-sided tests put it within the margin; inconclusive otherwise.

    Parameters
    ----------
    difference : Estimate
        With its interval.
    p : float
        Corrected for the number of candidates.
    margin : float
        A difference of less, either way, counts as none.
    scaled_down : bool
        Whether the baselines are smaller than the paper's.
    unit : str
        Of the margin, in words.
    cautions : sequence of str
        What a reader must know beside the verdict.
    """
    if scaled_down:
        return Judgement(Verdict.NONE, "scaled down, the baselines are smaller than the paper's")
    if difference.wells < MIN_WELLS:
        wells = f"{difference.wells} wells or scenes in the test set; {MIN_WELLS} are needed"
        return Judgement(Verdict.NONE, wells)
    within, reasons = difference.inside(-margin, margin), list(cautions)
    verdict = Verdict.INCONCLUSIVE
    if p < SIGNIFICANCE and (difference.above or difference.below):
        verdict = Verdict.BETTER if difference.above else Verdict.WORSE
        if within:
            reasons.insert(0, f"by less than the margin of {margin:g}{unit}")
    elif within:
        verdict = Verdict.SAME
        reasons.insert(0, f"within the margin of {margin:g}{unit}")
    else:
        reasons.insert(0, f"margin {margin:g}{unit}")
    if difference.seeds < 2:
        reasons.append("one seed: chance between trainings is not counted")
    return Judgement(verdict, "; ".join(reasons))


def judge_cell(
    metric: str, ours: Estimate, printed: tuple[float, float], *, reason: str
) -> Judgement:
    """Judge a number beside the printed one.

    The same only where two one-sided tests put ours within the metric's margin of what the printed
    number stands for; better or worse where it is not, and its interval leaves that out;
    inconclusive otherwise.

    Parameters
    ----------
    metric : str
        Its metric, one of `MARGINS`.
    ours : Estimate
        With its interval.
    printed : tuple of float
        The interval that the printed number stands for by its rounding.
    reason : str
        Why the two are not comparable, or empty.
    """
    if reason:
        return Judgement(Verdict.NOT_COMPARABLE, reason)
    if np.isnan(ours.low):
        return Judgement(Verdict.NONE, f"{ours.wells} wells, {MIN_WELLS} are needed")
    (low, high), margin = printed, MARGINS[metric]
    if ours.inside(low - margin, high + margin):
        verdict = Verdict.SAME
    elif ours.low > high or ours.high < low:
        above = ours.mean > high
        verdict = Verdict.BETTER if above == (metric in HIGHER_IS_BETTER) else Verdict.WORSE
    else:
        verdict = Verdict.INCONCLUSIVE
    return Judgement(verdict, "" if ours.seeds > 1 else "one seed")
