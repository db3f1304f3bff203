"""Verdicts: on a candidate's difference from the better baseline, and on a number beside the one
that the paper printed.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from analysis.statistics import MIN_WELLS, Estimate

HIGHER_IS_BETTER = ("psnr", "ssim", "ssim_range2")
SIGNIFICANCE = 0.05


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


def judge_difference(difference: Estimate, p: float, *, scaled_down: bool) -> Judgement:
    """Judge a candidate's difference from the better baseline.

    Parameters
    ----------
    difference : Estimate
        With its interval.
    p : float
        Corrected for the number of candidates.
    scaled_down : bool
        Whether the baselines are smaller than the paper's.
    """
    if scaled_down:
        return Judgement(Verdict.NONE, "scaled down, the baselines are smaller than the paper's")
    if difference.wells < MIN_WELLS:
        wells = f"{difference.wells} wells or scenes in the test set; {MIN_WELLS} are needed"
        return Judgement(Verdict.NONE, wells)
    verdict = Verdict.INCONCLUSIVE
    if p < SIGNIFICANCE and (difference.above or difference.below):
        verdict = Verdict.BETTER if difference.above else Verdict.WORSE
    one_seed = "" if difference.seeds > 1 else "one seed: chance between trainings is not counted"
    return Judgement(verdict, one_seed)


def judge_cell(
    metric: str, ours: Estimate, printed: tuple[float, float], *, reason: str
) -> Judgement:
    """Judge a number beside the printed one.

    Parameters
    ----------
    metric : str
        Its metric: mse, nrmse, psnr, ssim or ssim_range2.
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
    above = ours.mean > printed[1]
    verdict = Verdict.BETTER if above == (metric in HIGHER_IS_BETTER) else Verdict.WORSE
    if ours.high >= printed[0] and ours.low <= printed[1]:
        verdict = Verdict.SAME
    return Judgement(verdict, "" if ours.seeds > 1 else "one seed")
