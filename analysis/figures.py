"""Table -> figure. Colours can be told apart by the colour-blind (Okabe and Ito); nothing is set
outside a figure.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from analysis.load import Study
from analysis.outcome_table import Curve
from study.files import new_file
from study.record.events import TrialScored
from study.record.history import History, Run
from study.record.identities import Phase, Reference, ReferenceRole, Role
from study.score import Score

Example = tuple[str, dict[str, np.ndarray]]  # a label, and what `load_examples` returns
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#F0E442")
GREY = "#777777"
DPI = 130
COST_AXES = {
    "parameters": "parameters",
    "gflop": "GFLOP an image",
    "latency_ms": "latency of an image (ms, on this device)",
}
MISSING = "1 - SSIM"
METRIC_AXES = {"ssim": "SSIM", "psnr": "PSNR (dB)", "nrmse": "NRMSE"}


def level_curves(curves: Sequence[Curve], *, metric: str, level_axis: str, in_focus: int) -> Figure:
    """Draw a metric over the levels, a line for each curve.

    The in-focus level is marked by a line and left out of the curves: unrestored input is perfect
    there. The paper's curves are dashed, unrestored input is dotted.
    """
    figure = Figure(figsize=(9, 4.2), layout="constrained")
    axes = figure.subplots()
    for curve, style in zip(curves, line_styles(curves), strict=True):
        values = {level: value for level, value in curve.values.items() if level != in_focus}
        axes.plot(list(values), list(values.values()), label=curve.label, **style)
    if any(in_focus in curve.values for curve in curves):
        axes.axvline(in_focus, color=GREY, linewidth=0.8)
        axes.annotate(
            "in focus",
            (in_focus, 1.0),
            xycoords=("data", "axes fraction"),
            fontsize=8,
            color=GREY,
            ha="center",
            va="bottom",
        )
    axes.set_xlabel(level_axis)
    axes.set_ylabel(METRIC_AXES[metric])
    axes.grid(alpha=0.25)
    figure.legend(loc="outside right upper", fontsize=9, frameon=False)
    return figure


def front_figure(points: pd.DataFrame, *, cost: str, objective: str) -> Figure:
    """Draw quality against a cost: every finished trial, the front as steps, the baselines by name.

    SSIM is drawn as what is missing to 1, on a logarithmic axis: good trials differ in their third
    digit, poor ones in their first.
    """
    points = points.assign(objective=1 - points["objective"]) if "ssim" in objective else points
    figure = Figure(figsize=(9, 4.0), layout="constrained")
    axes = figure.subplots()
    searched, baselines = (points[points["role"] == one] for one in (Role.SEARCHED, Role.BASELINE))
    axes.scatter(
        searched[cost], searched["objective"], color="#AAAAAA", s=22, label="searched trials"
    )
    best = points[points["on_front"]].sort_values(cost)
    axes.step(
        best[cost],
        best["objective"],
        where="post",
        color=COLOURS[2],
        linewidth=1.6,
        marker="o",
        markersize=4,
        label="front",
    )
    for (_, row), colour in zip(baselines.iterrows(), COLOURS, strict=False):
        axes.scatter(
            [row[cost]],
            [row["objective"]],
            color=colour,
            s=60,
            marker="D",
            label=row["label"],
            zorder=3,
        )
    axes.set_xscale("log")
    axes.set_xlabel(COST_AXES.get(cost, cost))
    axes.set_ylabel(f"{objective_title(objective)} on validation")
    if "ssim" in objective:
        _set_missing_axis(axes)
    axes.grid(alpha=0.25)
    figure.legend(loc="outside right upper", fontsize=9, frameon=False)
    return figure


def line_styles(curves: Iterable[Curve]) -> Iterator[dict[str, Any]]:
    """Yield each curve's line: networks in colours, deconvolutions thin and dashed, the paper's
    dashed and grey, unrestored input dotted, the right shape at the mean scale dashed and dotted.
    """
    colours, classical = itertools.cycle(COLOURS), itertools.cycle(reversed(COLOURS))
    for curve in curves:
        match curve.subject:
            case Reference(role=ReferenceRole.UNRESTORED_INPUT, size=size):
                width = 2 if size is None else 1.1
                yield {"color": "black", "linestyle": ":", "linewidth": width}
            case Reference(role=ReferenceRole.AFFINE_FIT):
                yield {"color": GREY, "linestyle": ":", "linewidth": 1.1}
            case Reference(role=ReferenceRole.MEAN_SCALE):
                yield {"color": "black", "linestyle": "-.", "linewidth": 1.1}
            case Reference(role=ReferenceRole.PAPER, name=family):
                dashes = "--" if family == "whole" else "-."
                yield {"color": GREY, "linestyle": dashes, "linewidth": 1.4}
            case Reference(role=ReferenceRole.DECONVOLUTION):
                yield {"color": next(classical), "linestyle": "--", "linewidth": 1.1}
            case _:
                yield {"color": next(colours), "linewidth": 1.8, "marker": "o", "markersize": 3}


def seam_profiles(profiles: dict[str, list[float]], *, border_px: int) -> Figure:
    """Draw the mean absolute error by the distance to the nearest seam between patches, stitched
    and whole.

    Up to half a patch: only the outermost patches, which have fewer seams, hold pixels that are
    farther from one.
    """
    figure = Figure(figsize=(9, 3.4), layout="constrained")
    axes = figure.subplots()
    for (mode, values), colour in zip(sorted(profiles.items()), COLOURS, strict=False):
        axes.plot(
            range(len(values)),
            values,
            color=colour,
            linewidth=1.8,
            label="stitched patches" if mode == "stitched" else "whole image at once",
        )
    axes.axvspan(0, border_px, color=GREY, alpha=0.12, linewidth=0)
    axes.annotate(
        "border",
        (border_px / 2, 1.0),
        xycoords=("data", "axes fraction"),
        fontsize=8,
        color=GREY,
        ha="center",
        va="bottom",
    )
    axes.set_xlabel("distance to the nearest seam (px)")
    axes.set_ylabel("mean absolute error")
    axes.grid(alpha=0.25)
    figure.legend(loc="outside right upper", fontsize=9, frameon=False)
    return figure


def objective_title(objective: str) -> str:
    """Return an objective as an axis shows it: what is missing to an SSIM of 1."""
    return (
        f"{MISSING} + harm"
        if objective == "penalized_ssim"
        else objective_name(objective).replace("SSIM", MISSING)
    )


def objective_name(objective: str) -> str:
    """Return an objective in words."""
    if objective == "penalized_ssim":
        return "SSIM less harm"
    return (
        objective.replace("_", " level's ")
        .replace("worst", "The worst")
        .replace("ssim", "SSIM")
        .replace("psnr", "PSNR (dB)")
    )


def _set_missing_axis(axes: Axes) -> None:
    axes.set_yscale("log")
    axes.invert_yaxis()
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.yaxis.set_minor_formatter(
        FuncFormatter(lambda value, _: f"{value:g}" if f"{value:e}"[0] in "25" else "")
    )


def rung_scores(history: History) -> list[tuple[Run, dict[int, float]]]:
    """Return the runs of the search, baselines last, each with its SSIM after every epoch; empty if
    nothing was searched, or no epoch was scored.
    """
    runs = sorted(history.of_phase(Phase.SEARCH), key=lambda run: run.role == Role.BASELINE)
    curves = [
        (run, {epoch: run.epochs[epoch].metrics.get("ssim") for epoch in sorted(run.epochs)})
        for run in runs
    ]
    scored = [
        (run, {epoch: ssim for epoch, ssim in curve.items() if ssim is not None})
        for run, curve in curves
    ]
    return scored if any(curve for _, curve in scored) else []


def search_curves(study: Study) -> Figure | None:
    """Draw the rung score of every searched trial and baseline by epoch; None if nothing was
    searched.
    """
    curves = rung_scores(study.history)
    if not curves:
        return None
    figure = Figure(figsize=(9, 3.8), layout="constrained")
    axes = figure.subplots()
    colours = itertools.cycle(COLOURS)
    for run, curve in curves:
        style: dict[str, Any] = {"color": "#AAAAAA", "linewidth": 1.0}
        if run.role == Role.BASELINE:
            style = {"color": next(colours), "linewidth": 2, "label": run.label}
        missing = [1 - ssim for ssim in curve.values()]
        axes.plot(list(curve), missing, marker="o", markersize=3, **style)
    axes.plot([], [], color="#AAAAAA", label="searched trials")
    axes.set_xlabel("epoch")
    axes.set_ylabel(f"{MISSING} on validation (sample)")
    _set_missing_axis(axes)
    axes.grid(alpha=0.25)
    figure.legend(loc="outside right upper", fontsize=9, frameon=False)
    return figure


def restorations(
    examples: Sequence[Example], *, level_title: str, levels: Sequence[int] | None = None
) -> Figure:
    """Draw one field, a row for each level: as it was seen, restored by each model, and in focus.

    Parameters
    ----------
    examples : sequence of (label, arrays)
        Each with `defocused` and `restored`, shape (L, Y, X), `in_focus`, shape (Y, X), and
        `levels`, shape (L,).
    level_title : str
        What a level is called.
    levels : sequence of int, optional
        Those to draw; all of the first example's if not given.
    """
    shown = [int(level) for level in (examples[0][1]["levels"] if levels is None else levels)]
    rows = [panels(examples, level) for level in shown]
    side = max(image.shape[0] for _, image in rows[0])
    canvas = np.vstack([np.hstack([_tile(image, side) for _, image in row]) for row in rows])
    tile = side + _gap(side)
    figure = Figure(
        figsize=(2.0 * len(rows[0]) + 0.4, 2.0 * len(shown) + 0.3), layout="constrained"
    )
    axes = (
        figure.subplots()
    )  # one image on one pair of axes: matplotlib takes longer over axes than over what is in them
    axes.imshow(canvas, cmap="gray", vmin=0, vmax=255, interpolation="nearest")
    axes.set_xticks(
        [column * tile + side / 2 for column in range(len(rows[0]))],
        [title for title, _ in rows[0]],
    )
    axes.set_yticks(
        [row * tile + side / 2 for row in range(len(shown))],
        [f"{level_title} {level}" for level in shown],
        rotation=90,
        va="center",
    )
    axes.tick_params(
        top=False, bottom=False, left=False, labeltop=True, labelbottom=False, labelsize=9
    )
    axes.spines[:].set_visible(False)
    return figure


def _tile(image: np.ndarray, side: int) -> np.ndarray:
    """Return an image at the size of the largest beside it, with a white edge to the right and
    below.
    """
    enlarged = cv2.resize(image, (side, side), interpolation=cv2.INTER_NEAREST)
    return np.pad(enlarged, ((0, _gap(side)), (0, _gap(side))), constant_values=255)


def _gap(side: int) -> int:
    return max(side // 25, 1)


def panels(examples: Sequence[Example], level: int) -> list[tuple[str, np.ndarray]]:
    """Return what is to be seen of one field at one level: defocused (also with its best affine
    fit), restored, in focus.
    """
    first = max(
        (arrays for _, arrays in examples), key=lambda arrays: arrays["in_focus"].shape[0]
    )  # seen at the largest size
    at = [int(one) for one in first["levels"]].index(level)
    seen, focus = first["defocused"][at].astype(float), first["in_focus"].astype(float)
    spread = np.square(seen - seen.mean()).mean()
    gain = ((seen - seen.mean()) * (focus - focus.mean())).mean() / spread if spread > 0 else 0.0
    fitted = np.clip(np.rint(gain * (seen - seen.mean()) + focus.mean()), 0, 255).astype(np.uint8)
    restored = [(label, arrays["restored"][at]) for label, arrays in examples]
    return [
        ("defocused", first["defocused"][at]),
        ("best affine fit", fitted),
        *restored,
        ("in focus", first["in_focus"]),
    ]


def load_examples(folder: Path, name: str = "examples.npz") -> dict[str, np.ndarray] | None:
    """Return the example restorations that a trial left in its folder; None if it left none."""
    path = Path(folder) / name
    if not path.is_file():
        return None
    with np.load(path, allow_pickle=False) as arrays:
        return {name: arrays[name] for name in arrays.files}


def save_figure(figure: Figure, path: Path) -> Path:
    """Write a figure as PNG; the file is whole or not there."""
    figure.set_dpi(DPI)
    with new_file(path) as partial:
        FigureCanvasAgg(figure).print_png(
            partial, pil_kwargs={"compress_level": 3}
        )  # draws once; savefig draws twice
    return path


def draw_trial(folder: Path, history: History, score: TrialScored) -> list[Path]:
    """Draw one run's SSIM by level beside the unrestored input and the paper's curves, and its
    example restorations.

    Parameters
    ----------
    folder : Path
        The study's folder; figures go into its `figures`.
    history : History
        What its ledger says.
    score : TrialScored
        The run's score.
    """
    run, images = history.runs[score.run], history.study.images
    subjects: list[tuple[str, Role | Reference, Score]] = [(run.label, run.role, score)]
    for reference, event in history.references.items():
        if reference.is_curve and reference.split in (score.eval_split, "paper"):
            subjects.append((reference.label, reference, event))
    curves = [
        Curve(label, subject, dict(zip(held.levels, held.level_means("ssim"), strict=True)))
        for label, subject, held in subjects
    ]
    figures, name = folder / "figures", run.id.file_name
    figure = level_curves(
        curves, metric="ssim", level_axis=images.level_axis, in_focus=images.in_focus_level
    )
    drawn = [save_figure(figure, figures / f"{name}-ssim-by-level.png")]
    examples = load_examples(folder / "trials" / Path(run.begun.folder).name)
    if examples is not None:
        grid = restorations([(run.label, examples)], level_title=images.level_title)
        drawn.append(save_figure(grid, figures / f"{name}-restorations.png"))
    return drawn
