import numpy as np
import pandas as pd
import pytest
from scipy import stats

from analysis.statistics import _sign_flip, estimate, holm


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
