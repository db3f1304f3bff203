"""How sure a mean or a difference is: over wells and seeds, as crossed random effects."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy.special import stdtr, stdtrit  # of t; as `scipy.stats.t`, in a hundredth of the time

MIN_WELLS = 8  # with fewer, no interval is worth its name
FLIPS = 20_000
OF_A_WELL = ("well", "replicate", "split_number", "test_to_train")  # columns that `estimate` reads


@dataclass(frozen=True)
class Estimate:
    """A mean or a difference of two, with what is known of its certainty.

    Parameters
    ----------
    mean : over wells, images of a well, and seeds.
    low, high : its 95 % interval; nan where there are too few wells for one.
    p : that it is 0: the larger one of a sign-flip test over wells and of a t test that also counts
        seeds; nan where it was not asked for, or there is no interval.
    wells, seeds : how many of each; of the smallest split where there is more than one.
    error, freedom : the standard error and its degrees of freedom; nan where there is no interval.
    splits : how many splits into training and test side the interval holds.
    """

    mean: float
    low: float
    high: float
    p: float
    wells: int
    seeds: int
    error: float = np.nan
    freedom: float = np.nan
    splits: int = 1

    @property
    def above(self) -> bool:
        """Whether the whole interval lies above 0."""
        return self.low > 0

    @property
    def below(self) -> bool:
        """Whether the whole interval lies below 0."""
        return self.high < 0

    def inside(self, low: float, high: float) -> bool:
        """Whether two one-sided tests at 5 % put the mean between two bounds (Schuirmann, 1987,
        doi:10.1007/BF01068419): its 90 % interval lies between them. Never without an interval.
        """
        if not np.isfinite(self.error):
            return False
        reach = float(stdtrit(self.freedom, 0.95)) * self.error
        return low < self.mean - reach and self.mean + reach < high


def estimate(
    ours: pd.DataFrame,
    theirs: pd.DataFrame | None = None,
    *,
    metric: str = "ssim",
    test: bool = False,
) -> Estimate:
    """Estimate the mean of a metric over wells and seeds, or the difference of two such means,
    paired by well.

    Wells and seeds are crossed random effects: the variance of the mean is that between wells (of
    the paired differences) and between seeds (of each of the two), less what of the residual stands
    in both (Searle, Casella and McCulloch, 1992, chapter 4), with Welch-Satterthwaite degrees of
    freedom. p is the larger one of this t test's and of flipping the signs of the wells' means,
    which knows nothing of seeds. See benchmarks/coverage.py. Over more than one split, see
    `_over_splits`.

    Parameters
    ----------
    ours, theirs : pandas.DataFrame
        Rows of `Study.images`: well, replicate and the metric.
    metric : str
        The column.
    test : bool
        Test for p, too.
    """
    sides = [rows for rows in (ours, theirs) if rows is not None]
    trained = [_is_trained(rows) for rows in sides]
    numbers = _shared_splits([rows for rows, of in zip(sides, trained, strict=True) if of])
    if len(numbers) > 1:
        return _over_splits(sides, trained, numbers, metric, test=test)
    tables = [_wells_by_seeds(rows, metric) for rows in sides]
    values = _differences_by_well(tables)
    counts = [table.values.shape[1] for table, of in zip(tables, trained, strict=True) if of]
    seeds = min(counts, default=0)  # the unrestored input has none
    mean, wells = float(values.mean()) if len(values) else np.nan, len(values)
    if wells < MIN_WELLS or not np.isfinite(values).all():
        return Estimate(mean, np.nan, np.nan, np.nan, wells, seeds)
    variance, freedom = _crossed_variance(values, tables)
    error = float(np.sqrt(variance))
    p = max(_sign_flip(values), _t_test(mean, error, freedom)) if test else np.nan
    return _with_interval(mean, error, freedom, p=p, counts=(wells, seeds))


def _is_trained(rows: pd.DataFrame) -> bool:
    return "phase" not in rows or bool((rows["phase"] != "reference").any())


def _differences_by_well(tables: list[ByWell]) -> np.ndarray:
    """Return the mean over seeds of each well, less that of the other table if there is one."""
    means = [np.nanmean(table.values, axis=1) for table in tables]
    if len(tables) == 1:
        return means[0]
    wells = [table.wells for table in tables]
    _, ours, theirs = np.intersect1d(wells[0], wells[1], return_indices=True)
    return means[0][ours] - means[1][theirs]


def _crossed_variance(values: np.ndarray, tables: list[ByWell]) -> tuple[float, float]:
    """Return the variance of a mean over wells and seeds, and its degrees of freedom."""
    parts, twice = [(values.var(ddof=1) / len(values), len(values) - 1)], 0.0
    for table in (table.values for table in tables):
        if table.shape[1] > 1:
            of_seeds = np.nanmean(table, axis=0).var(ddof=1)
            parts.append((of_seeds / table.shape[1], table.shape[1] - 1))
            twice += _residual(table[~np.isnan(table).any(axis=1)]) / table.size
    variance = max(sum(part for part, _ in parts) - twice, max(part for part, _ in parts))
    freedom = (
        variance**2 / sum(part**2 / degrees for part, degrees in parts)
        if variance > 0
        else len(values) - 1
    )
    return variance, max(freedom, min(degrees for _, degrees in parts))


def _with_interval(
    mean: float,
    error: float,
    freedom: float,
    *,
    p: float,
    counts: tuple[int, int],
    splits: int = 1,
) -> Estimate:
    """Return an estimate over so many wells and seeds by its standard error."""
    reach = float(stdtrit(freedom, 0.975)) * error
    return Estimate(mean, mean - reach, mean + reach, p, *counts, error, freedom, splits)


def _t_test(mean: float, error: float, freedom: float) -> float:
    return 2 * float(stdtr(freedom, -abs(mean) / error)) if error > 0 else 0.0


def _shared_splits(trained: list[pd.DataFrame]) -> list[int]:
    """Return the numbers of the splits that all networks were trained on."""
    numbers = [set(rows["split_number"]) for rows in trained if "split_number" in rows]
    return sorted(set.intersection(*numbers)) if numbers else []


def _over_splits(
    sides: list[pd.DataFrame],
    trained: list[bool],
    numbers: list[int],
    metric: str,
    *,
    test: bool,
) -> Estimate:
    """Estimate over splits of the wells into training and test side: the mean of the splits' means.

    Test sides and training sides of splits overlap: the variance between their means is s^2 (1/K +
    test wells / training wells), with K - 1 degrees of freedom (Nadeau and Bengio, 2003,
    doi:10.1023/A:1024068626366). It holds wells and seeds too; p is of the t test. A reference is
    the same in all splits, and is compared on the wells of each.
    """
    parts = []
    for number in numbers:
        held = [
            rows[rows["split_number"] == number] if of else rows
            for rows, of in zip(sides, trained, strict=True)
        ]
        one = estimate(*held, metric=metric)
        parts.append((one.mean, one.wells, one.seeds))
    means, wells, seeds = (np.array(column) for column in zip(*parts, strict=True))
    mean, counts = float(means.mean()), (int(wells.min()), int(seeds.min()))
    if counts[0] < MIN_WELLS or not np.isfinite(means).all():
        return Estimate(mean, np.nan, np.nan, np.nan, *counts, splits=len(numbers))
    ratio = float(sides[trained.index(True)]["test_to_train"].iloc[0])
    error = float(means.std(ddof=1) * np.sqrt(1 / len(means) + ratio))
    p = _t_test(mean, error, len(means) - 1) if test else np.nan
    return _with_interval(mean, error, len(means) - 1, p=p, counts=counts, splits=len(numbers))


def means_by_well(rows: pd.DataFrame, metric: str) -> pd.Series:
    """Return a metric's mean over the images of each well and replicate; `estimate` takes what is
    made from it after `reset_index`.
    """
    keys = [column for column in OF_A_WELL if column in rows]
    means: pd.Series = rows.groupby(keys)[metric].mean()
    return means


def holm(values: list[float]) -> list[float]:
    """Correct p values for their number (Holm, 1979); nan stays nan, and counts.

    `statsmodels` says the same, but collects garbage at every call, which takes 45 ms.
    """
    corrected, highest = list(values), 0.0
    for rank, index in enumerate(np.argsort(values)):
        highest = max(highest, min(1.0, (len(values) - rank) * values[index]))
        corrected[index] = highest if np.isfinite(values[index]) else np.nan
    return corrected


class ByWell(NamedTuple):
    """Means over the images of a well: a row of `values` for each of `wells`, a column for each
    seed; nan where a seed did not see a well.
    """

    wells: np.ndarray
    values: np.ndarray


def _wells_by_seeds(rows: pd.DataFrame, metric: str) -> ByWell:
    """Return means over the images of a well; far faster than `pivot_table`."""
    values = rows[metric].to_numpy(float)
    known = ~np.isnan(values)
    well, wells = pd.factorize(rows["well"].to_numpy()[known], sort=True)
    seed, seeds = pd.factorize(rows["replicate"].to_numpy()[known], sort=True)
    shape = len(wells), len(seeds)
    cell = well * shape[1] + seed
    sums, counts = (
        np.bincount(cell, weights, minlength=shape[0] * shape[1])
        for weights in (values[known], None)
    )
    with np.errstate(invalid="ignore"):  # 0 / 0 where a seed did not see a well
        return ByWell(np.asarray(wells), (sums / counts).reshape(shape))


def _residual(table: np.ndarray) -> float:
    """Return the mean square of what wells (rows) and seeds (columns) leave unexplained."""
    if len(table) < 2:
        return 0.0
    rest = table - table.mean(axis=0) - table.mean(axis=1, keepdims=True) + table.mean()
    return float((rest**2).sum() / ((table.shape[0] - 1) * (table.shape[1] - 1)))


def _sign_flip(values: np.ndarray) -> float:
    """Return the two-sided p that the mean of `values` is 0, by flipping signs: all of them, or a
    fixed sample.

    `scipy.stats.permutation_test` says the same where it flips all, in 50 to 1,800 times the time
    (129 ms for 14 wells); where it draws a sample, that is another one, and p another number.
    """
    return float((np.abs(_signs(len(values)) @ values) >= abs(values.sum()) - 1e-12).mean())


@functools.cache
def _signs(count: int) -> np.ndarray:
    if count <= 14:
        return np.array(np.meshgrid(*[[-1.0, 1.0]] * count)).reshape(count, -1).T
    signs = np.random.default_rng(0).choice([-1.0, 1.0], size=(FLIPS, count))
    signs[0] = 1
    return signs
