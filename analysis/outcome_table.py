"""The outcome of a study: the table of configurations, curves by level, the front with its
costs.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import numpy as np
import pandas as pd

from analysis.collapse import collapsed_runs
from analysis.endpoint import replicate_values
from analysis.final_scores import final_split
from analysis.load import REFERENCE, Study
from study.record.identities import Phase, Reference, ReferenceRole, Role

SCALE_INVARIANT = {  # metric -> its title, and how a number is written
    "si_ssim": ("SI-SSIM", "{:.4f}"),
    "si_psnr": ("SI-PSNR (dB)", "{:.2f}"),
}
COSTS = {  # column -> its title, and how a number is written
    "parameters": ("parameters", "{:,.0f}"),
    "gflop": ("GFLOP an image", "{:.3g}"),
    "latency_ms": ("ms an image", "{:.1f}"),
    "steps": ("training steps", "{:,.0f}"),
    "training_seconds": ("training (s)", "{:.0f}"),
}


class Standing(StrEnum):
    """What a row of the outcome is."""

    WINNER = "winner"
    CANDIDATE = "candidate"
    BASELINE = "baseline"
    REFERENCE = "reference"


@dataclass(frozen=True)
class Curve:
    """A metric by level.

    Parameters
    ----------
    label : the name that people read.
    subject : the role of a configuration, or a reference.
    values : level -> mean over fields and seeds.
    """

    label: str
    subject: Role | Reference
    values: dict[int, float]


def ranking(study: Study) -> pd.DataFrame:
    """Return the outcome: a row for each configuration of the final phase and each reference on the
    same images, the best by the primary endpoint first.

    Returns
    -------
    pandas.DataFrame
        label, role (`Standing`), trial, seeds, collapsed (how many of them), endpoint (the mean
        over seeds), endpoint_low, endpoint_high (the lowest and the highest seed), ssim, psnr,
        nrmse, mse, si_ssim, si_psnr (means over seeds, fields and defocused levels, at the
        evaluation resolution; nan where a study did not measure it), and means of what each run
        cost, see `COSTS`.
    """
    history, trials = study.history, study.trials
    winner, metrics = history.winner(), ["ssim", "psnr", "nrmse", "mse", *SCALE_INVARIANT]
    collapsed = collapsed_runs(study)
    done = trials[(trials["phase"] == history.final_phase) & (trials["status"] == "finished")]
    rows: list[dict[str, Any]] = []
    for trial, runs in done.groupby("trial"):
        standing = Standing.CANDIDATE
        if runs["role"].iloc[0] == Role.BASELINE:
            standing = Standing.BASELINE
        elif winner is not None and trial == winner.trial:
            standing = Standing.WINNER
        about = {"label": runs["label"].iloc[0], "role": standing, "trial": trial}
        means = runs.reindex(columns=[*metrics, *(cost for cost in COSTS if cost in runs)]).mean()
        counts = {"seeds": len(runs), "collapsed": len(collapsed.get(about["label"], []))}
        rows.append({**about, **counts, **_endpoint_cells(study, about["label"]), **means})
    for reference, event in study.references.items():
        if reference.split == final_split(study) and reference.is_curve:
            about = {"label": reference.label, "role": Standing.REFERENCE, "trial": None}
            about |= {"seeds": 0, "collapsed": 0, **_endpoint_cells(study, reference.label)}
            rows.append({**about, **{name: event.summary.get(name, math.nan) for name in metrics}})
    table = pd.DataFrame(rows)
    return (
        table.sort_values("endpoint", ascending=False, ignore_index=True, kind="stable")
        if len(table)
        else table
    )


def shown_costs(table: pd.DataFrame) -> dict[str, tuple[str, str]]:
    """Return those of `COSTS` that a table of the outcome holds."""
    return {cost: texts for cost, texts in COSTS.items() if cost in table}


def _endpoint_cells(study: Study, label: str) -> dict[str, float]:
    values = replicate_values(study, label)
    low, high = (values.min(), values.max()) if len(values) > 1 else (np.nan, np.nan)
    return {"endpoint": values.mean(), "endpoint_low": low, "endpoint_high": high}


def measured_scale_invariant(table: pd.DataFrame) -> dict[str, tuple[str, str]]:
    """Return those of `SCALE_INVARIANT` that a table has values of: older studies have none."""
    return {
        metric: how
        for metric, how in SCALE_INVARIANT.items()
        if metric in table and table[metric].notna().any()
    }


def front_table(study: Study, costs: Sequence[str]) -> pd.DataFrame:
    """Return the finished trials of the search with what they cost, the best first, and which of
    them are on the Pareto front; see `History.front`.

    Returns
    -------
    pandas.DataFrame
        label, role, objective, the costs, on_front; empty where a cost is not known of all.
    """
    runs = [run for run in study.history.finished(Phase.SEARCH) if run.score is not None]
    columns = ["label", "role", "objective", *costs, "on_front"]
    if not all(set(costs) <= set(run.cost) for run in runs):
        return pd.DataFrame(columns=columns)
    front = {run.id for run in study.history.front(costs)}
    rows = [
        [run.label, run.role, run.objective, *(run.cost[name] for name in costs), run.id in front]
        for run in runs
    ]
    table = pd.DataFrame(rows, columns=columns)
    return table.sort_values("objective", ascending=False, ignore_index=True)


def curves_by_level(study: Study, metric: str, *, own: bool = False) -> list[Curve]:
    """Return a metric at every level, means over seeds: of the final phase's configurations and the
    references on the same images, the best first, then of the paper's networks.

    Parameters
    ----------
    study : Study
        The study.
    metric : str
        A column of `Study.images`.
    own : bool
        Each at its own size, as the paper's are; the unrestored input at other sizes is among them
        then. At the evaluation resolution otherwise.
    """
    images = study.images
    splits = (final_split(study), "paper")
    subjects: dict[str, Role | Reference] = {
        run.label: run.role for run in study.history.of_phase(study.history.final_phase)
    }
    for reference in study.references:
        sized = own and reference.role == ReferenceRole.UNRESTORED_INPUT
        if reference.split in splits and (reference.is_curve or sized):
            subjects[reference.label] = reference
    kept = images[images["phase"].isin([study.history.final_phase, REFERENCE])]
    kept = kept[kept["label"].isin(list(subjects))]
    if own:
        ours = kept["eval_split"] != "paper"
        kept = kept.assign(**{metric: kept[f"own_{metric}"].where(ours, kept[metric])})
    table = kept.pivot_table(index="label", columns="level", values=metric, aggfunc="mean")
    ranked = list(ranking(study)["label"])
    order = [*ranked, *(label for label in table.index if label not in ranked)]
    return [
        Curve(label, subjects[label], table.loc[label].dropna().to_dict())
        for label in order
        if label in table.index
    ]


def curve_table(curves: Sequence[Curve]) -> pd.DataFrame:
    """Return curves as a table: a row for each label, a column for each level."""
    table = pd.DataFrame.from_dict({curve.label: curve.values for curve in curves}, orient="index")
    return table.sort_index(axis="columns")
