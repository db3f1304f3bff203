"""Estimates in words."""

from __future__ import annotations

from enum import StrEnum

import numpy as np

from analysis.statistics import MIN_WELLS, Estimate


class Agreement(StrEnum):
    """Whether what was measured agrees with a claim; open: the interval leaves both possible."""

    AGREES = "agrees"
    DIFFERS = "differs"
    DIFFERS_IN_SIZE = "differs in size"
    OPEN = "open"
    NOT_MEASURED = "not measured"


def interval_text(estimated: Estimate, *, digits: int = 3) -> str:
    """Return a mean, signed, with its interval or why it has none."""
    mean = f"{estimated.mean:+.{digits}f}"
    if np.isnan(estimated.low):
        return f"{mean} (no interval: {estimated.wells} wells, {MIN_WELLS} are needed)"
    seeds = ", one seed" if estimated.seeds == 1 else ""
    return (
        f"{mean} (95 % interval {estimated.low:+.{digits}f} to {estimated.high:+.{digits}f}{seeds})"
    )


def sign_text(difference: Estimate) -> str:
    """Say on which side of 0 the interval of a difference lies."""
    if np.isnan(difference.low):
        return "too few wells to say more"
    return "better" if difference.above else "worse" if difference.below else "inconclusive"


def agreement(estimated: Estimate) -> Agreement:
    """Return whether an estimate that a claim expects above 0 is."""
    if np.isnan(estimated.low):
        return Agreement.NOT_MEASURED
    if estimated.above:
        return Agreement.AGREES
    return Agreement.DIFFERS if estimated.below else Agreement.OPEN
