"""Table -> figure. Colours can be told apart by the colour-blind (Okabe and Ito); nothing is set outside a figure."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from analysis.load import Study
from study.files import new_file
from study.record.ledger import CEILING, level_means, read_events

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#F0E442")
GREY = "#777777"
DPI = 130
METRIC_AXES = {"ssim": "SSIM", "psnr": "PSNR (dB)", "nrmse": "NRMSE"}


def level_curves(table: pd.DataFrame, *, metric: str, level_axis: str, in_focus: int) -> Figure:
    """Draw a metric over the levels, a line for each row of `table` (index: label, columns: levels).

    The in-focus level is marked by a line and left out of the curves: do-nothing is perfect there. The paper's curves are
    dashed, do-nothing is dotted.
    """
    figure = Figure(figsize=(9, 4.2), layout="constrained")
    axes = figure.subplots()
    shown = table.drop(columns=[in_focus], errors="ignore")
    colours = itertools.cycle(COLOURS)
    for label, row in shown.iterrows():
        values = row.dropna()
        if str(label).startswith("do-nothing"):
            affine = "affine" in str(label)
            style: dict[str, Any] = {"color": GREY if affine else "black", "linestyle": ":", "linewidth": 1.5 if affine else 2}
        elif str(label).startswith("paper: "):
            style = {"color": GREY, "linestyle": "--" if "whole" in str(label) else "-.", "linewidth": 1.4}
        else:
            style = {"color": next(colours), "linewidth": 1.8, "marker": "o", "markersize": 3}
        axes.plot([int(level) for level in values.index], values.to_numpy(float), label=str(label), **style)
    if in_focus in table.columns:
        axes.axvline(in_focus, color=GREY, linewidth=0.8)
        axes.annotate("in focus", (in_focus, 1.0), xycoords=("data", "axes fraction"), fontsize=8, color=GREY, ha="center", va="bottom")
    axes.set_xlabel(level_axis)
    axes.set_ylabel(METRIC_AXES[metric])
    axes.grid(alpha=0.25)
    figure.legend(loc="outside right upper", fontsize=9, frameon=False)
    return figure


def search_curves(study: Study) -> Figure | None:
    """Draw the rung score of every searched trial and baseline by epoch; None if nothing was searched."""
    epochs = study.epochs
    if epochs.empty or "ssim" not in epochs or not (epochs["phase"] == "search").any():
        return None
    figure = Figure(figsize=(9, 3.8), layout="constrained")
    axes = figure.subplots()
    colours = itertools.cycle(COLOURS)
    trials = study.trials[study.trials["phase"] == "search"]
    for _, trial in trials.sort_values("baseline").iterrows():
        rows = epochs[(epochs["phase"] == "search") & (epochs["trial"] == trial["trial"])].sort_values("epoch")
        style: dict[str, Any] = {"color": "#AAAAAA", "linewidth": 1.0}
        if trial["baseline"]:
            style = {"color": next(colours), "linewidth": 2, "label": trial["label"]}
        axes.plot(rows["epoch"], rows["ssim"], marker="o", markersize=3, **style)
    axes.plot([], [], color="#AAAAAA", label="searched trials")
    axes.set_xlabel("epoch")
    axes.set_ylabel("validation SSIM (sample)")
    axes.grid(alpha=0.25)
    figure.legend(loc="outside right upper", fontsize=9, frameon=False)
    return figure


def restorations(examples: Sequence[tuple[str, dict[str, np.ndarray]]], *, level_title: str) -> Figure:
    """Draw one field at several levels: a row for what was seen, a row for each model, and the in-focus image.

    Parameters
    ----------
    examples : sequence of (label, arrays)
        Each with `defocused` and `restored`, shape (L, Y, X), `in_focus`, shape (Y, X), and `levels`, shape (L,).
    level_title : str
        What a level is called.
    """
    first = examples[0][1]
    levels = first["levels"]
    rows = [("defocused", first["defocused"])] + [(label, arrays["restored"]) for label, arrays in examples]
    rows.append(("in focus", np.repeat(first["in_focus"][None], len(levels), axis=0)))
    figure = Figure(figsize=(1.9 * len(levels) + 1.2, 1.95 * len(rows)), layout="constrained")
    grid = figure.subplots(len(rows), len(levels), squeeze=False)
    for row, (label, images) in enumerate(rows):
        for column, image in enumerate(images):
            axes = grid[row][column]
            axes.imshow(image, cmap="gray", vmin=0, vmax=255, interpolation="nearest")
            axes.set_xticks([])
            axes.set_yticks([])
            if row == 0:
                axes.set_title(f"{level_title} {levels[column]}", fontsize=9)
        grid[row][0].set_ylabel(label, fontsize=9)
    return figure


def load_examples(folder: Path) -> dict[str, np.ndarray] | None:
    """Return the example restorations that a trial left in its folder; None if it left none."""
    path = Path(folder) / "examples.npz"
    if not path.is_file():
        return None
    with np.load(path, allow_pickle=False) as arrays:
        return {name: arrays[name] for name in arrays.files}


def save_figure(figure: Figure, path: Path) -> Path:
    """Write a figure as PNG; the file is whole or not there."""
    FigureCanvasAgg(figure)
    with new_file(path) as partial:
        figure.savefig(partial, dpi=DPI)
    return path


def draw_trial(folder: Path, score: dict[str, Any]) -> list[Path]:
    """Draw one trial's SSIM by level beside do-nothing and the paper's curves, and its example restorations.

    Parameters
    ----------
    folder : Path
        The study's folder; figures go into its `figures`.
    score : dict
        A `score` event of its ledger.
    """
    events = read_events(folder)
    images = next(event["images"] for event in events if event["event"] == "study")
    trial = next(
        event for event in events if event["event"] == "trial" and all(event[key] == score[key] for key in ("phase", "trial", "replicate"))
    )
    rows = {trial["label"]: score}
    for event in events:
        shown = event["event"] == "reference" and event["judged_on"] in (score["judged_on"], "paper")
        if shown and not event["reference"].startswith(CEILING):
            rows[event["reference"]] = event
    table = pd.DataFrame(
        {label: dict(zip(row["levels"], level_means(row, "common", "ssim"), strict=True)) for label, row in rows.items()}
    ).T
    name = f"{score['phase']}-{score['trial']:04d}-{score['replicate']}"
    curve = level_curves(table.sort_index(axis=1), metric="ssim", level_axis=images["level_axis"], in_focus=images["in_focus_level"])
    drawn = [save_figure(curve, folder / "figures" / f"{name}-ssim-by-level.png")]
    if (examples := load_examples(Path(trial["folder"]))) is not None:
        grid = restorations([(trial["label"], examples)], level_title=images["level_title"])
        drawn.append(save_figure(grid, folder / "figures" / f"{name}-restorations.png"))
    return drawn
