"""The paper's tables made again: our value with its interval beside the printed one, and a verdict for every cell."""

from __future__ import annotations

import numpy as np
import pandas as pd

from analysis.audit import HALF_UNIT, Row
from analysis.compare import MIN_WELLS, Estimate, estimate, final_images, final_phase, winner
from analysis.load import Study
from analysis.paper import averages, curve

PRINTED = {"mse": "MSE", "nrmse": "RMSE", "psnr": "PSNR", "ssim": "SSIM"}  # ours -> the paper's column
HIGHER_IS_BETTER = ("psnr", "ssim")
DO_NOTHING = ("do-nothing (test)", "do-nothing, best affine fit (test)")


def baseline_labels(study: Study) -> dict[str, str]:
    """Return family (whole, split) -> label of the baselines that the outcome rests on."""
    trials = study.trials.sort_values("trial", kind="stable")
    runs = trials[trials["baseline"] & (trials["phase"] == final_phase(study)) & (trials["status"] == "finished")]
    return {point["family"]: label for point, label in zip(runs["hyperparameters"], runs["label"], strict=True)}


def compared_labels(study: Study) -> dict[str, str | None]:
    """Return label -> family of the paper's network that it is compared with; None for the winner and for do-nothing."""
    found: dict[str, str | None] = {label: family for family, label in baseline_labels(study).items()}
    best = winner(study)
    scored = set(final_images(study)["label"])
    if best is not None:
        found |= dict.fromkeys(label for label in study.trials[study.trials["trial"] == best]["label"] if label in scored)
    return found | dict.fromkeys(label for label in DO_NOTHING if label in scored)


def average_table(study: Study) -> pd.DataFrame:
    """Make the paper's table of averages (1 or 2), each model at its own size, over all defocused levels.

    Returns
    -------
    pandas.DataFrame
        label, metric, ours, low, high, wells, seeds, paper (as printed, or empty), verdict.
    """
    printed = averages(study.kind)
    rows = []
    for label, family in compared_labels(study).items():
        images = final_images(study, label)
        rows += _cells(study, images, label=label, printed=printed[family] if family else None)
    return pd.DataFrame(rows)


def level_table(study: Study) -> pd.DataFrame:
    """Make the paper's table by level (3 and 4, or 5): as `average_table`, with a column `level`."""
    printed = {family: {row.level: row for row in curve(study.kind, family)} for family in averages(study.kind)}
    rows = []
    for label, family in compared_labels(study).items():
        images = final_images(study, label)
        for level in sorted(images["level"].unique()):
            row = printed[family].get(int(level)) if family else None
            rows += [{"level": int(level), **cell} for cell in _cells(study, images[images["level"] == level], label=label, printed=row)]
    return pd.DataFrame(rows)


def in_focus_table(study: Study) -> pd.DataFrame:
    """Return the harm done to an image that is in focus already: metrics of its restoration, on the common grid; see `average_table`."""
    images = final_images(study, defocused=False)
    images = images[images["level"] == study.in_focus]
    rows = []
    for label in compared_labels(study):
        for metric in ("ssim", "psnr", "nrmse"):
            found = estimate(images[images["label"] == label], metric=metric)
            rows.append({"label": label, "metric": metric, "ours": found.mean, "low": found.low, "high": found.high})
    return pd.DataFrame(rows)


def not_comparable(study: Study) -> str:
    """Say why no number of this study can be held against the paper's; empty if they can."""
    config, images = study.header["config"], study.header["images"]
    trained_on = study.header.get("trained_on", images)
    if config["scaled_down"]:
        return "scaled down"
    if images["simulated"] or trained_on["simulated"]:
        return "simulated"
    if study.kind == "bbbc005" and trained_on is images:
        return "trained on BBBC005, the paper on BBBC006"
    return ""


def verdict(metric: str, ours: Estimate, printed: tuple[float, float], *, reason: str) -> str:
    """Judge one cell.

    Parameters
    ----------
    metric : str
        One of `PRINTED`.
    ours : Estimate
        With its interval.
    printed : tuple of float
        The interval that the printed number stands for by its rounding.
    reason : str
        Why the two are not comparable, or empty.
    """
    if reason:
        return f"not comparable: {reason}"
    if np.isnan(ours.low):
        return f"no verdict: {ours.wells} wells, {MIN_WELLS} are needed"
    if ours.high >= printed[0] and ours.low <= printed[1]:
        return "same"
    return "better" if (ours.mean > printed[1]) == (metric in HIGHER_IS_BETTER) else "worse"


def _cells(study: Study, images: pd.DataFrame, *, label: str, printed: Row | None) -> list[dict[str, object]]:
    reason, cells = not_comparable(study), []
    for metric in (*PRINTED, "rmse", "ssim_range2"):
        found = estimate(images, metric=f"own_{metric}")
        text, judged = "", ""
        if printed is not None and metric in PRINTED:
            text, bounds = _printed(printed, metric)
            judged = verdict(metric, found, bounds, reason=reason)
        cells.append(
            {"label": label, "metric": metric, "ours": found.mean, "low": found.low, "high": found.high,
             "wells": found.wells, "seeds": found.seeds, "paper": text, "verdict": judged}
        )  # fmt: skip
    return cells


def _printed(row: Row, metric: str) -> tuple[str, tuple[float, float]]:
    if metric == "mse":
        if row.mse_text.startswith("<"):
            return row.mse_text, (0.0, float(row.mse_text.removeprefix("<")))
        value = float(row.mse_text)
        return row.mse_text, (value - HALF_UNIT, value + HALF_UNIT)
    value = {"nrmse": row.rmse, "psnr": row.psnr, "ssim": row.ssim}[metric]
    return f"{value:.3f}", (value - HALF_UNIT, value + HALF_UNIT)
