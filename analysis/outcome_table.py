"""The outcome of a study: its final phase, the winner, the table of configurations, curves by
level, the Pareto front.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd

from analysis.load import Study
from study.record.ledger import AT_SIZE, NO_CURVES, UPPER_BOUND

COSTS = {  # column -> its title, and how a number is written
    "parameters": ("parameters", "{:,.0f}"),
    "gflop": ("GFLOP an image", "{:.3g}"),
    "latency_ms": ("ms an image", "{:.1f}"),
    "training_seconds": ("training (s)", "{:.0f}"),
}


def final_phase(study: Study) -> str:
    """Return the phase that the study's outcome rests on: confirm, or search if nothing was
    confirmed.
    """
    trials = study.trials
    if trials.empty:
        return "search"
    confirmed = (trials["phase"] == "confirm") & (trials["status"] == "finished")
    return "confirm" if confirmed.any() else "search"


def final_split(study: Study) -> str:
    """Return the side of the split that the final phase is scored on: test, or validation."""
    return "test" if final_phase(study) == "confirm" else "validation"


def final_images(study: Study, label: str | None = None, *, defocused: bool = True) -> pd.DataFrame:
    """Return the rows of `Study.images` that the outcome rests on: the final phase's, and the
    references on the same images.

    Parameters
    ----------
    study : Study
        The study.
    label : str, optional
        Of one configuration or reference; all if not given.
    defocused : bool
        Leave the in-focus level out.
    """
    phase, images = final_phase(study), study.images
    kept = (images["phase"] == phase) | (
        (images["phase"] == "reference") & (images["eval_split"] == final_split(study))
    )
    if label is not None:
        kept &= images["label"] == label
    if defocused:
        kept &= images["level"] != study.in_focus
    return images[kept]


def winner(study: Study) -> int | None:
    """Return the searched trial that was best on validation, which the test set then judges; None
    if there is none.
    """
    trials = study.trials
    if "objective" not in trials:
        return None
    searched = trials[
        (trials["phase"] == "search") & ~trials["baseline"] & (trials["status"] == "finished")
    ].sort_values(["objective", "trial"], ascending=[False, True])
    return None if searched.empty else int(searched["trial"].iloc[0])


def ranking(study: Study) -> pd.DataFrame:
    """Return the outcome: a row for each configuration of the final phase and each reference on the
    same images, the best SSIM first.

    Returns
    -------
    pandas.DataFrame
        label, role (winner, candidate, baseline, reference), trial, seeds, ssim, psnr, nrmse, mse
        (means over seeds, fields and defocused levels, at the evaluation resolution), and means of
        what each run cost, see `COSTS`.
    """
    phase, best = final_phase(study), winner(study)
    done = study.trials[(study.trials["phase"] == phase) & (study.trials["status"] == "finished")]
    metrics = ["ssim", "psnr", "nrmse", "mse"]
    rows: list[dict[str, Any]] = []
    for trial, runs in done.groupby("trial"):
        role = (
            "baseline" if runs["baseline"].iloc[0] else "winner" if trial == best else "candidate"
        )
        means = runs[[*metrics, *(cost for cost in COSTS if cost in runs)]].mean()
        label = runs["label"].iloc[0]
        rows.append({"label": label, "role": role, "trial": trial, "seeds": len(runs), **means})
    references = study.references[
        (study.references["eval_split"] == final_split(study))
        & ~study.references["label"].str.startswith(NO_CURVES)
    ]
    for _, reference in references.iterrows():
        about = {"label": reference["label"], "role": "reference", "trial": -1, "seeds": 0}
        rows.append({**about, **reference[metrics]})
    table = pd.DataFrame(rows)
    return table.sort_values("ssim", ascending=False, ignore_index=True) if len(table) else table


def front(study: Study, *, costs: Sequence[str]) -> pd.DataFrame:
    """Return the finished trials of the search with what they cost, the best first, and which of
    them are on the Pareto front: no other is as good and as cheap in everything and better or
    cheaper in something.

    Returns
    -------
    pandas.DataFrame
        label, baseline, objective, the costs, on_front.
    """
    trials, columns = study.trials, ["label", "baseline", "objective", *costs]
    if not set(columns) <= set(trials):
        return pd.DataFrame(columns=[*columns, "on_front"])
    done = trials[(trials["phase"] == "search") & (trials["status"] == "finished")][columns].copy()
    goals = done[["objective", *costs]].to_numpy(float) * [-1, *[1] * len(costs)]  # all to be small
    done["on_front"] = [
        not ((goals <= goal).all(axis=1) & (goals < goal).any(axis=1)).any() for goal in goals
    ]
    return done.sort_values("objective", ascending=False, ignore_index=True)


def upper_bounds(study: Study) -> pd.DataFrame:
    """Return what a perfect restoration at each image size scores at the evaluation resolution:
    label, ssim, psnr, row of the ledger.
    """
    rows = study.references[
        (study.references["eval_split"] == final_split(study))
        & study.references["label"].str.startswith(UPPER_BOUND)
    ]
    return rows[["label", "ssim", "psnr", "row"]]


def by_level(study: Study, metric: str, *, own: bool = False) -> pd.DataFrame:
    """Return a metric at every level: a row for each label, a column for each level, means over
    seeds.

    The final phase's configurations, unrestored input on the same fields, and the paper's curves;
    at the evaluation resolution, or each at its `own` size, as the paper's are.
    """
    images = study.images
    kept = images[
        (images["phase"] == final_phase(study))
        | (
            (images["phase"] == "reference")
            & images["eval_split"].isin([final_split(study), "paper"])
        )
    ]
    kept = kept[~kept["label"].str.startswith(UPPER_BOUND if own else NO_CURVES)]
    if own:
        kept = kept.assign(
            **{metric: kept[f"own_{metric}"].where(kept["eval_split"] != "paper", kept[metric])}
        )
    table = kept.pivot_table(index="label", columns="level", values=metric, aggfunc="mean")
    others = [label for label in table.index if label.startswith((AT_SIZE, "paper: "))]
    order = [*ranking(study)["label"], *others]
    return table.reindex([label for label in order if label in table.index])


def collapsed(study: Study) -> list[str]:
    """Return the labels whose PSNR is the same at every level, within a hundredth of a decibel."""
    curves = by_level(study, "psnr")
    curves = curves[~curves.index.str.startswith(("unrestored input", "paper: "))]
    spread = curves.max(axis=1) - curves.min(axis=1)
    return list(spread.index[spread < 0.01])
