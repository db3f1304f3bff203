"""The paper's tables made again: our value with its interval beside the printed one, and a verdict
for every cell.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import pandas as pd

from analysis.audit import HALF_UNIT, Row
from analysis.compare import PAPER, final_images, final_phase, winner
from analysis.load import Study
from analysis.paper_tables import averages, curve
from analysis.statistics import MIN_WELLS, Estimate, estimate
from study.record.ledger import AT_SIZE, UPPER_BOUND

PRINTED = {
    "mse": "MSE",
    "nrmse": "RMSE",
    "psnr": "PSNR",
    "ssim": "SSIM",
    "ssim_range2": "SSIM",
}  # ours -> the paper's column
HIGHER_IS_BETTER = ("psnr", "ssim", "ssim_range2")


def baseline_labels(study: Study) -> dict[str, str]:
    """Return family (whole, split) -> label of the baselines that the outcome rests on and that
    were scored on its images.
    """
    trials, scored = (
        study.trials.sort_values("trial", kind="stable"),
        set(final_images(study)["label"]),
    )
    runs = trials[
        trials["baseline"]
        & (trials["phase"] == final_phase(study))
        & (trials["status"] == "finished")
    ]
    return {
        hyperparameters["family"]: label
        for hyperparameters, label in zip(runs["hyperparameters"], runs["label"], strict=True)
        if label in scored
    }


def unrestored_label(study: Study, *, affine: bool = False) -> str:
    """Return the label of the unrestored input, or of its best affine fit, on the images that the
    outcome rests on.
    """
    side = "test" if final_phase(study) == "confirm" else "validation"
    return f"unrestored input{', best affine fit' if affine else ''} ({side})"


def networks(study: Study) -> dict[str, str | None]:
    """Return label -> family of the paper's network that it is compared with; None for the
    winner.
    """
    found: dict[str, str | None] = {
        label: family for family, label in baseline_labels(study).items()
    }
    best, scored = winner(study), set(final_images(study)["label"])
    if best is not None:
        found |= dict.fromkeys(
            label
            for label in study.trials[study.trials["trial"] == best]["label"]
            if label in scored
        )
    return found


def compared_labels(study: Study) -> dict[str, str | None]:
    """Return `networks`, and the unrestored input: at the whole image's size, with its best affine
    fit, and at the split image's.
    """
    labels = final_images(study)["label"].unique()
    beside = [
        unrestored_label(study),
        unrestored_label(study, affine=True),
        *(label for label in labels if label.startswith(AT_SIZE)),
    ]
    return networks(study) | dict.fromkeys(label for label in beside if label in set(labels))


@lru_cache(maxsize=8)
def average_table(study: Study) -> pd.DataFrame:
    """Make the paper's table of averages (1 or 2), each model at its own size, over all defocused
    levels.

    Returns
    -------
    pandas.DataFrame
        label, metric, ours, low, high, wells, seeds, paper (as printed, or empty), verdict.
    """
    printed = averages(study.kind)
    rows = []
    for label, family in compared_labels(study).items():
        reason = not_comparable(study, family, average=True) if family else ""
        rows += _cells(
            final_images(study, label),
            label=label,
            printed=printed[family] if family else None,
            reason=reason,
        )
    return pd.DataFrame(rows)


@lru_cache(maxsize=8)
def level_table(study: Study) -> pd.DataFrame:
    """Make the paper's table by level (3 and 4, or 5): as `average_table`, with a column
    `level`.
    """
    printed = {
        family: {row.level: row for row in curve(study.kind, family)}
        for family in averages(study.kind)
    }
    rows = []
    for label, family in compared_labels(study).items():
        images, reason = final_images(study, label), not_comparable(study, family) if family else ""
        for level in sorted(images["level"].unique()):
            row = printed[family].get(int(level)) if family else None
            rows += [
                {"level": int(level), **cell}
                for cell in _cells(
                    images[images["level"] == level], label=label, printed=row, reason=reason
                )
            ]
    return pd.DataFrame(rows)


def in_focus_table(study: Study) -> pd.DataFrame:
    """Return the harm done to an image that is in focus already: metrics of its restoration, on the
    evaluation resolution; see `average_table`.
    """
    images = final_images(study, defocused=False)
    images = images[images["level"] == study.in_focus]
    rows = []
    perfect = [label for label in images["label"].unique() if label.startswith(UPPER_BOUND)]
    for label in [*compared_labels(study), *perfect]:
        for metric in ("ssim", "psnr", "nrmse"):
            found = estimate(images[images["label"] == label], metric=metric)
            rows.append(
                {
                    "label": label,
                    "metric": metric,
                    "ours": found.mean,
                    "low": found.low,
                    "high": found.high,
                }
            )
    return pd.DataFrame(rows)


def not_comparable(study: Study, family: str, *, average: bool = False) -> str:
    """Say why numbers of one family cannot be held against the paper's; empty if they can.

    Parameters
    ----------
    study : Study
        The study, or its transfer.
    family : str
        whole or split.
    average : bool
        Of the averages over all levels, too.
    """
    config, images = study.header["config"], study.header["images"]
    trained_on = study.header.get("trained_on", images)
    dataset, training = config["dataset"], config["training"]
    levels, expected = (
        len(study.header["store"]["levels"]),
        {"bbbc006": 34, "bbbc005": 16}[study.kind],
    )
    fields = sum(trained_on["fields"].values())
    reasons = {
        "scaled down": config["scaled_down"],
        "simulated": images["simulated"] or trained_on["simulated"],
        f"trained on {trained_on['title']}, the paper on BBBC006": trained_on["title"] != "BBBC006",
        f"{fields} fields, the paper had {PAPER['fields']}": fields != PAPER["fields"],
        f"{training['epochs']} epochs": training["epochs"] != PAPER["epochs"],
        "trained for equal seconds": config["confirm"]["seconds"] is not None,
        f"trained in {training.get('precision')}": (
            training.get("precision", "float32") != "float32"
        ),
        "epochs of sampled images": training.get("images_per_epoch") is not None,
        f"batches of {training['batch_size']}": training["batch_size"] != PAPER["batch_size"],
        f"channel {dataset['channel']}": dataset["channel"] != "w1",
        "resized by area mean": dataset["resize"] != PAPER["resize"],
        "patches were sampled": family == "split" and training["patches_per_image"] is not None,
        "not stitched": family == "split" and config["evaluation"]["inference"] == "whole",
        f"{levels} of {expected} levels": average and levels != expected,
    }
    return next((reason for reason, applies in reasons.items() if applies), "")


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
    judged = "better" if (ours.mean > printed[1]) == (metric in HIGHER_IS_BETTER) else "worse"
    if ours.high >= printed[0] and ours.low <= printed[1]:
        judged = "same"
    return judged if ours.seeds > 1 else f"{judged} (one seed)"


def _cells(
    images: pd.DataFrame, *, label: str, printed: Row | None, reason: str
) -> list[dict[str, object]]:
    cells = []
    for metric in (*PRINTED, "rmse"):
        found = estimate(images, metric=f"own_{metric}")
        text, judged = "", ""
        if printed is not None and metric in PRINTED:
            text, bounds = _printed(printed, metric)
            judged = verdict(metric, found, bounds, reason=reason)
        cells.append(
            {
                "label": label,
                "metric": metric,
                "ours": found.mean,
                "low": found.low,
                "high": found.high,
                "wells": found.wells,
                "seeds": found.seeds,
                "paper": text,
                "verdict": judged,
            }
        )
    return cells


def _printed(row: Row, metric: str) -> tuple[str, tuple[float, float]]:
    if metric == "mse":
        if row.mse_text.startswith("<"):
            return row.mse_text, (
                0.0,
                HALF_UNIT,
            )  # what is larger is printed as 0.001: z 11 is, at a PSNR that gives .00054
        value = float(row.mse_text)
        return row.mse_text, (value - HALF_UNIT, value + HALF_UNIT)
    value = {"nrmse": row.rmse, "psnr": row.psnr, "ssim": row.ssim, "ssim_range2": row.ssim}[metric]
    return f"{value:.3f}", (value - HALF_UNIT, value + HALF_UNIT)
