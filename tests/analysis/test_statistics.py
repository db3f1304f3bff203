import numpy as np
import pandas as pd
import pytest
from scipy import stats

from analysis.statistics import _sign_flip, estimate, holm, means_by_well


def test_sign_flips_against_scipy() -> None:
    values = np.random.default_rng(1).normal(0.3, 1, 9)
    exact = stats.permutation_test(
        (values,), np.mean, permutation_type="samples", n_resamples=np.inf
    )
    assert _sign_flip(values) == pytest.approx(exact.pvalue)


def test_holm_by_hand() -> None:
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])


def test_a_mean_and_its_interval_against_scipy() -> None:
    values = np.random.default_rng(2).normal(0.5, 0.1, 12)
    mean = estimate(pd.DataFrame({"well": np.arange(12), "replicate": 0, "ssim": values}))
    low, high = stats.t.interval(0.95, 11, loc=values.mean(), scale=stats.sem(values))
    assert (mean.mean, mean.low, mean.high) == pytest.approx((values.mean(), low, high))


def test_wells_count_alike_however_many_images_and_seeds_they_have() -> None:
    rng = np.random.default_rng(3)
    rows = pd.DataFrame(
        {
            "well": rng.choice(list("hgfedcba"), 200),
            "replicate": rng.integers(0, 3, 200),
            "ssim": rng.random(200),
        }
    )
    rows = rows[(rows["well"] != "c") | (rows["replicate"] != 1)]  # a seed that did not see a well
    rows.loc[rows.index[:20], "ssim"] = np.nan
    pivot = rows.pivot_table(index="well", columns="replicate", values="ssim")
    mean = estimate(rows)
    expected = pivot.mean(axis=1).mean()
    assert (mean.mean, mean.wells, mean.seeds) == (pytest.approx(expected), 8, 3)
    lower = rows[rows["well"] != "a"].assign(ssim=lambda table: table["ssim"] - 0.25)
    difference = estimate(rows, lower)
    assert (difference.mean, difference.wells) == (pytest.approx(0.25), 7)  # paired by well


def over_splits(rng: np.random.Generator, gain: float, *, wells: int = 10) -> pd.DataFrame:
    """Images of three splits, each with two seeds and test wells of its own; 10 wells in 4."""
    rows = []
    for split in range(3):
        chosen = rng.choice(40, wells, replace=False)
        for replicate in (2 * split, 2 * split + 1):
            for well in chosen:
                ssim = gain + 0.01 * split + rng.normal(0, 0.01)
                about = {"split_number": split, "test_to_train": 0.25, "phase": "confirm"}
                rows.append({"well": well, "replicate": replicate, "ssim": ssim, **about})
    return pd.DataFrame(rows)


def test_an_interval_over_splits_by_hand() -> None:
    ours = over_splits(np.random.default_rng(4), 0.8)
    theirs = ours.assign(ssim=ours["ssim"] - 0.05 + 0.02 * ours["split_number"] ** 2)
    difference = estimate(ours, theirs, test=True)
    means = np.array([0.05, 0.03, -0.03])  # the difference of each split
    error = means.std(ddof=1) * np.sqrt(1 / 3 + 10 / 40)
    low, high = stats.t.interval(0.95, 2, loc=means.mean(), scale=error)
    found = difference.mean, difference.low, difference.high, difference.p
    expected = means.mean(), low, high, 2 * stats.t.sf(means.mean() / error, 2)
    assert found == pytest.approx(expected)
    assert (difference.splits, difference.seeds, difference.wells) == (3, 2, 10)


def test_a_reference_is_compared_on_the_wells_of_each_split() -> None:
    ours = over_splits(np.random.default_rng(5), 0.8)
    reference = pd.DataFrame(
        {"well": np.arange(40), "replicate": 0, "ssim": 0.02 * np.arange(40), "split_number": 0}
    ).assign(phase="reference")
    difference = estimate(ours, reference)
    by_split = [
        rows["ssim"].mean() - 0.02 * rows["well"].unique().mean()
        for _, rows in ours.groupby("split_number")
    ]
    assert difference.splits == 3
    assert difference.mean == pytest.approx(np.mean(by_split))
    assert estimate(reference).splits == 1


def test_splits_are_not_lost_where_images_are_averaged_first() -> None:
    ours = over_splits(np.random.default_rng(6), 0.8)
    again = estimate(means_by_well(ours, "ssim").reset_index())
    assert (again.splits, again.mean) == (3, pytest.approx(estimate(ours).mean))
    assert again.error == pytest.approx(estimate(ours).error)


def test_a_split_with_too_few_wells_gives_no_interval() -> None:
    few = estimate(over_splits(np.random.default_rng(7), 0.8, wells=7))
    assert np.isnan(few.low)
    assert few.wells == 7
