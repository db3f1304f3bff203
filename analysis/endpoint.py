"""The primary endpoint of a study: its first objective, by which it is judged."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import pandas as pd

from analysis.final_scores import final_images
from analysis.load import REFERENCE, Study
from study.objectives import quality
from study.record.identities import Reference, ReferenceRole

LINEAR = ("ssim", "psnr")  # objectives that are means over images
TITLES = {
    "ssim": "SSIM",
    "psnr": "PSNR",
    "penalized_ssim": "SSIM less harm",
    "worst_ssim": "worst level's SSIM",
    "worst_psnr": "worst level's PSNR",
}


@dataclass(frozen=True)
class Endpoint:
    """What a study is judged by, at the evaluation resolution on defocused levels.

    Parameters
    ----------
    objective : str
        One of `study.config.QUALITIES`.
    weights : mapping, optional
        Level -> weight; 1 for a level that is not named.
    """

    objective: str
    weights: Mapping[int, float] | None = None

    @property
    def is_plain_ssim(self) -> bool:
        """Whether it is the mean SSIM of all images, which every table holds anyway."""
        return self.objective == "ssim" and not self.weights

    @property
    def metric(self) -> str:
        """The metric that it is made from: ssim or psnr."""
        return self.objective.rpartition("_")[2]

    @property
    def title(self) -> str:
        """Its name in words."""
        return TITLES[self.objective] + (" (levels weighted)" if self.weights else "")

    @property
    def digits(self) -> int:
        """How many decimals of it are shown."""
        return 2 if self.metric == "psnr" else 4

    @property
    def unit(self) -> str:
        """Its unit after a number, or nothing."""
        return " dB" if self.metric == "psnr" else ""


def primary_endpoint(study: Study) -> Endpoint:
    """Return a study's primary endpoint; weights of levels are not those of another data set."""
    search = study.config.search
    own_images = study.dataset is study.history.study.images
    return Endpoint(search.objectives[0], search.level_weights if own_images else None)


@lru_cache(maxsize=8)
def endpoint_tables(study: Study) -> dict[str, pd.DataFrame]:
    """Return the endpoint of each configuration and reference of the outcome, by label.

    Returns
    -------
    dict
        Label -> phase, well, replicate, endpoint (see `endpoint_by_well`) and, where the
        confirmation was repeated over splits, what tells them.
    """
    images = final_images(study)
    if images.empty:
        return {}
    return {
        str(label): endpoint_by_well(study, rows)
        for label, rows in images[images["eval_split"] != "paper"].groupby("label")
    }


def endpoint_by_well(study: Study, rows: pd.DataFrame) -> pd.DataFrame:
    """Return the endpoint of one configuration by well and replicate.

    The endpoint is that of each replicate's mean over its wells, by level. Where it is a mean over
    images, a well's value is the (weighted) mean of the well's images. Where it is not, it is the
    jackknife pseudo-value of the well, n theta - (n - 1) theta without the well (Tukey, 1958),
    which is the same for a mean; the pseudo-values of a replicate are moved so that their mean is
    theta itself: the correction of bias of a minimum over levels is noise.

    Parameters
    ----------
    study : Study
        Whose endpoint is meant, and that holds the unrestored input.
    rows : pandas.DataFrame
        Rows of `Study.images` without the in-focus level.

    Returns
    -------
    pandas.DataFrame
        well, replicate, endpoint, and the columns of a run: phase, and those of a split.
    """
    endpoint = primary_endpoint(study)
    if endpoint.objective.startswith("penalized_"):
        rows = _with_unrestored_error(study, rows)
    rows = rows[rows[endpoint.metric].notna()]
    if endpoint.objective in LINEAR:
        parts = [_weighted_means(rows, endpoint)]
    else:
        parts = [
            pseudo_values(one, endpoint).assign(replicate=replicate)
            for replicate, one in rows.groupby("replicate")
        ]
    table = pd.concat(parts, ignore_index=True) if parts else _weighted_means(rows, endpoint)
    return table.merge(rows[_run_columns(rows)].drop_duplicates("replicate"), on="replicate")


def replicate_values(study: Study, label: str) -> pd.Series:
    """Return the endpoint of each replicate of a configuration, by replicate."""
    tables = endpoint_tables(study)
    if label not in tables:
        return pd.Series(dtype=float)
    values: pd.Series = tables[label].groupby("replicate")["endpoint"].mean()
    return values


def median_replicate(study: Study, label: str) -> int:
    """Return the replicate with the (lower) median of the endpoint: what is shown of a
    configuration where one of its networks is shown; the first if none was scored.
    """
    values = replicate_values(study, label).sort_values(kind="stable")
    return int(values.index[(len(values) - 1) // 2]) if len(values) else 0


def _run_columns(rows: pd.DataFrame) -> list[str]:
    wanted = ("replicate", "phase", "split_number", "test_to_train")
    return [column for column in wanted if column in rows]


def _with_unrestored_error(study: Study, rows: pd.DataFrame) -> pd.DataFrame:
    """Add the squared error of the unrestored input on the same images as `defocused_mse`."""
    splits = rows["eval_split"].unique()
    labels = [Reference(ReferenceRole.UNRESTORED_INPUT, str(split)).label for split in splits]
    images = study.images
    unrestored = images[(images["phase"] == REFERENCE) & images["label"].isin(labels)]
    errors = unrestored[["field", "level", "mse"]].rename(columns={"mse": "defocused_mse"})
    return rows.merge(errors, on=["field", "level"])


def _weighted_means(rows: pd.DataFrame, endpoint: Endpoint) -> pd.DataFrame:
    weights = rows["level"].map(endpoint.weights or {}).fillna(1.0).to_numpy(float)
    weighted = pd.DataFrame(
        {
            "well": rows["well"].to_numpy(),
            "replicate": rows["replicate"].to_numpy(),
            "sum": weights * rows[endpoint.metric].to_numpy(float),
            "weight": weights,
        }
    )
    sums = weighted.groupby(["well", "replicate"], sort=True).sum()
    return (sums["sum"] / sums["weight"]).rename("endpoint").reset_index()


def pseudo_values(rows: pd.DataFrame, endpoint: Endpoint) -> pd.DataFrame:
    """Return the pseudo-value of every well of one replicate, see `endpoint_by_well`.

    Parameters
    ----------
    rows : pandas.DataFrame
        well, level, the endpoint's metric and, where harm counts, mse and defocused_mse.
    endpoint : Endpoint
        What is estimated.
    """
    well, wells = pd.factorize(rows["well"], sort=True)
    level, levels = pd.factorize(rows["level"], sort=True)
    shape, cell = (len(wells), len(levels)), well * len(levels) + level
    counts = np.bincount(cell, minlength=len(wells) * len(levels))
    means = {}
    for name in {endpoint.metric, "mse", "defocused_mse"} & set(rows):
        sums = np.bincount(cell, rows[name].to_numpy(float), minlength=counts.size)
        with np.errstate(invalid="ignore"):  # 0 / 0 where a well has no image of a level
            means[name] = (sums / counts).reshape(shape)

    def theta(kept: np.ndarray) -> float:
        given = {name: values[kept].ravel() for name, values in means.items()}
        there = np.tile(np.asarray(levels), int(kept.sum()))
        return quality(endpoint.objective, given, there, endpoint.weights)

    count, everything = len(wells), theta(np.ones(len(wells), bool))
    if count == 1:
        return pd.DataFrame({"well": wells, "endpoint": [everything]})
    without = np.array([theta(np.arange(count) != one) for one in range(count)])
    values = everything - (count - 1) * (without - without.mean())
    return pd.DataFrame({"well": wells, "endpoint": values})
