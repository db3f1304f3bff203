"""The paper's tables made again: our value with its interval beside the printed one, and a verdict
for every cell.
"""

from __future__ import annotations

from functools import lru_cache

import pandas as pd

from analysis.audit import HALF_UNIT, Row
from analysis.final_scores import final_images, final_references
from analysis.load import Study
from analysis.paper_deviations import not_comparable
from analysis.paper_tables import averages, curve
from analysis.statistics import estimate
from analysis.verdicts import judge_cell
from study.record.history import Run
from study.record.identities import ReferenceRole, Role

# ours -> the paper's column: one definition for each, chosen beforehand (its "RMSE" is a normalised
# one; SSIM has the data range of the images)
PRINTED = {"mse": "MSE", "nrmse": "RMSE", "psnr": "PSNR", "ssim": "SSIM"}
OTHER_DEFINITIONS = ("ssim_range2", "rmse")  # shown without a verdict


def baseline_runs(study: Study) -> dict[str, Run]:
    """Return family (whole, split) -> a run of the baseline that the outcome rests on and that was
    scored on its images.
    """
    history, scored = study.history, set(final_images(study)["label"])
    runs = sorted(history.finished(history.final_phase), key=lambda run: run.id)
    return {
        str(run.hyperparameters["family"]): run
        for run in runs
        if run.role == Role.BASELINE and run.label in scored
    }


def networks(study: Study) -> dict[str, str | None]:
    """Return label -> family of the paper's network that it is compared with; None for the
    winner.
    """
    labels: dict[str, str | None] = {
        run.label: family for family, run in baseline_runs(study).items()
    }
    winner = study.history.winner()
    if winner is not None and winner.label in set(final_images(study)["label"]):
        labels[winner.label] = None
    return labels


def compared_labels(study: Study) -> dict[str, str | None]:
    """Return `networks`, and the unrestored input: at the whole image's size, with its best affine
    fit, and at the split image's.
    """
    roles = ReferenceRole.UNRESTORED_INPUT, ReferenceRole.AFFINE_FIT
    references = sorted(
        final_references(study, *roles),
        key=lambda one: (one.size is not None, one.role == ReferenceRole.AFFINE_FIT),
    )
    return networks(study) | dict.fromkeys(one.label for one in references)


@lru_cache(maxsize=8)
def average_table(study: Study) -> pd.DataFrame:
    """Make the paper's table of averages (1 or 2), each model at its own size, over all defocused
    levels.

    Returns
    -------
    pandas.DataFrame
        label, metric, ours, low, high, wells, seeds, paper (as printed, or empty), verdict (a
        `Judgement`; None where nothing is printed).
    """
    printed = averages(study.kind)
    rows = []
    for label, family in compared_labels(study).items():
        reason = not_comparable(study, family, average=True) if family else ""
        rows += _cells(
            final_images(study, label),
            label=label,
            printed=printed.get(family) if family else None,
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
            row = printed.get(family, {}).get(int(level)) if family else None
            rows += [
                {"level": int(level), **cell}
                for cell in _cells(
                    images[images["level"] == level], label=label, printed=row, reason=reason
                )
            ]
    return pd.DataFrame(rows)


def in_focus_table(study: Study) -> pd.DataFrame:
    """Return the harm done to an image that is in focus already: metrics of its restoration, at the
    evaluation resolution; see `average_table`.
    """
    images = final_images(study, defocused=False)
    images = images[images["level"] == study.in_focus]
    rows = []
    bounds = [one.label for one in final_references(study, ReferenceRole.UPPER_BOUND)]
    for label in [*compared_labels(study), *bounds]:
        for metric in ("ssim", "psnr", "nrmse"):
            ours = estimate(images[images["label"] == label], metric=metric)
            about = {"label": label, "metric": metric}
            rows.append({**about, "ours": ours.mean, "low": ours.low, "high": ours.high})
    return pd.DataFrame(rows)


def _cells(
    images: pd.DataFrame, *, label: str, printed: Row | None, reason: str
) -> list[dict[str, object]]:
    cells = []
    for metric in (*PRINTED, *OTHER_DEFINITIONS):
        ours = estimate(images, metric=f"own_{metric}")
        text, judgement = "", None
        if printed is not None and metric in PRINTED:
            text, bounds = _printed(printed, metric)
            judgement = judge_cell(metric, ours, bounds, reason=reason)
        cells.append(
            {
                "label": label,
                "metric": metric,
                "ours": ours.mean,
                "low": ours.low,
                "high": ours.high,
                "wells": ours.wells,
                "seeds": ours.seeds,
                "paper": text,
                "verdict": judgement,
            }
        )
    return cells


def _printed(row: Row, metric: str) -> tuple[str, tuple[float, float]]:
    """Return a printed number, and the interval that it stands for."""
    if metric == "mse" and row.mse_text.startswith("<"):
        # what is larger is printed as 0.001: z 11 is, at a PSNR that gives .00054
        return row.mse_text, (0.0, HALF_UNIT)
    if metric == "mse":
        value, text = float(row.mse_text), row.mse_text
    else:
        columns = {"nrmse": row.rmse, "psnr": row.psnr, "ssim": row.ssim}
        value = columns[metric]
        text = f"{value:.3f}"
    return text, (value - HALF_UNIT, value + HALF_UNIT)
