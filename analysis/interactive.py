"""Table or images -> an interactive figure, as HTML that the report holds whole. Colours as in
`analysis.figures`.
"""

from __future__ import annotations

import base64
import itertools
from collections.abc import Sequence

import cv2
import numpy as np
import pandas as pd
import plotly.graph_objects as go
from markupsafe import Markup
from plotly.subplots import make_subplots

from analysis.figures import (
    COLOURS,
    COST_AXES,
    METRIC_AXES,
    MISSING,
    line_styles,
    objective_title,
    panels,
    rung_scores,
)
from analysis.load import Study
from analysis.outcome_table import Curve
from study.record.identities import Role

SIDE_PX = 256  # of an image in the report: larger ones are shown smaller
DASHES = {"-": "solid", "--": "dash", ":": "dot", "-.": "dashdot"}
MARGIN = {"l": 60, "r": 20, "t": 30, "b": 50}

TICKS = [
    100,
    10,
    1,
    0.5,
    0.2,
    0.1,
    0.05,
    0.02,
    0.01,
    0.005,
    0.002,
    0.001,
]  # of what is missing to an SSIM of 1


def level_curves(
    curves: Sequence[Curve], *, name: str, metric: str, level_axis: str, in_focus: int
) -> Markup:
    """Draw what `analysis.figures.level_curves` draws; values are shown under the pointer, lines
    are switched in the legend.
    """
    figure = go.Figure()
    for curve, style in zip(curves, line_styles(curves), strict=True):
        values = {level: value for level, value in curve.values.items() if level != in_focus}
        line = {
            "color": style["color"],
            "dash": DASHES[style.get("linestyle", "-")],
            "width": style["linewidth"],
        }
        mode = "lines+markers" if "marker" in style else "lines"
        figure.add_trace(
            go.Scatter(
                x=list(values),
                y=list(values.values()),
                name=curve.label,
                line=line,
                mode=mode,
            )
        )
    if any(in_focus in curve.values for curve in curves):
        figure.add_vline(
            x=in_focus,
            line_width=1,
            line_color="#777777",
            annotation_text="in focus",
            annotation_position="top",
        )
    figure.update_layout(
        template="plotly_white",
        height=420,
        margin=MARGIN,
        xaxis_title=level_axis,
        yaxis_title=METRIC_AXES[metric],
        hovermode="x unified",
    )
    return as_html(figure, name)


def restorations(
    examples: Sequence[tuple[str, dict[str, np.ndarray]]], *, name: str, level_title: str
) -> Markup:
    """Draw one field as it was seen, restored by each network, and in focus, with a slider over the
    levels.
    """
    levels = [int(level) for level in examples[0][1]["levels"]]
    by_level = [panels(examples, level) for level in levels]
    titles = [title for title, _ in by_level[0]]
    figure = make_subplots(rows=1, cols=len(titles), subplot_titles=titles, horizontal_spacing=0.01)
    for column, (_, image) in enumerate(by_level[0], start=1):
        figure.add_trace(_image(image), row=1, col=column)
    figure.frames = [
        go.Frame(
            name=str(level),
            data=[_image(image) for _, image in shown],
            traces=list(range(len(titles))),
        )
        for level, shown in zip(levels, by_level, strict=True)
    ]
    steps = [
        {
            "label": str(level),
            "method": "animate",
            "args": [[str(level)], {"mode": "immediate", "frame": {"redraw": True}}],
        }
        for level in levels
    ]
    figure.update_layout(
        sliders=[{"steps": steps, "currentvalue": {"prefix": f"{level_title} "}, "pad": {"t": 10}}],
        height=360,
        margin={**MARGIN, "l": 10, "b": 10},
        template="plotly_white",
    )
    figure.update_xaxes(visible=False)
    figure.update_yaxes(visible=False)
    for column in range(2, len(titles) + 1):  # zoomed together
        figure.update_xaxes(matches="x", col=column)
        figure.update_yaxes(matches="y", col=column)
    figure.update_annotations(font_size=11)
    return as_html(figure, name)


def _image(image: np.ndarray) -> go.Image:
    size = (SIDE_PX, SIDE_PX)
    method = cv2.INTER_AREA if image.shape[0] > SIDE_PX else cv2.INTER_NEAREST
    encoded = cv2.imencode(".png", cv2.resize(image, size, interpolation=method))[1].tobytes()
    return go.Image(
        source=f"data:image/png;base64,{base64.b64encode(encoded).decode()}", hoverinfo="skip"
    )


def search(study: Study, *, name: str) -> Markup:
    """Draw the rung score of every trial of a search by epoch, with its hyperparameters under the
    pointer.
    """
    figure = go.Figure()
    colours = itertools.cycle(COLOURS)
    for run, curve in rung_scores(study.history):
        baseline = run.role == Role.BASELINE
        colour = next(colours) if baseline else "#AAAAAA"
        about = "<br>".join(f"{key} {value}" for key, value in run.hyperparameters.items())
        figure.add_trace(
            go.Scatter(
                x=list(curve),
                y=[1 - ssim for ssim in curve.values()],
                customdata=list(curve.values()),
                name=run.label,
                mode="lines+markers",
                showlegend=baseline,
                line={"color": colour, "width": 2 if baseline else 1},
                marker={"size": 4},
                hovertemplate=(
                    f"{run.label}, epoch %{{x}}: SSIM %{{customdata:.4f}}<br>{about}<extra></extra>"
                ),
            )
        )
    figure.update_layout(
        template="plotly_white",
        height=400,
        margin=MARGIN,
        xaxis_title="epoch",
        yaxis_title=f"{MISSING} on validation (sample)",
    )
    figure.update_yaxes(
        type="log", autorange="reversed", tickvals=TICKS, ticktext=[f"{value:g}" for value in TICKS]
    )
    return as_html(figure, name)


def front(points: pd.DataFrame, *, cost: str, objective: str) -> Markup:
    """Draw quality against a cost, as `analysis.figures.front_figure` does, with each trial's name
    under the pointer.
    """
    missing = "ssim" in objective
    values = 1 - points["objective"] if missing else points["objective"]
    points, figure = points.assign(value=values), go.Figure()
    best, searched, baselines = (
        points[points["on_front"]].sort_values(cost),
        points[points["role"] == Role.SEARCHED],
        points[points["role"] == Role.BASELINE],
    )
    for rows, name, style in (
        (
            searched,
            "searched trials",
            {"mode": "markers", "marker": {"color": "#AAAAAA", "size": 7}},
        ),
        (best, "front", {"mode": "lines+markers", "line": {"color": COLOURS[2], "shape": "hv"}}),
        *(
            (
                baselines[baselines["label"] == label],
                label,
                {"mode": "markers", "marker": {"symbol": "diamond", "size": 11, "color": colour}},
            )
            for label, colour in zip(baselines["label"], COLOURS, strict=False)
        ),
    ):
        figure.add_trace(
            go.Scatter(
                x=rows[cost].tolist(),
                y=rows["value"].tolist(),
                name=name,
                text=rows["label"].tolist(),
                customdata=rows["objective"].tolist(),
                hovertemplate=(
                    f"%{{text}}<br>{cost} %{{x:,.4g}}<br>{objective}"
                    " %{customdata:.4f}<extra></extra>"
                ),
                **style,
            )
        )
    figure.update_layout(
        template="plotly_white",
        height=400,
        margin=MARGIN,
        xaxis_title=COST_AXES.get(cost, cost),
        yaxis_title=f"{objective_title(objective)} on validation",
    )
    figure.update_xaxes(type="log")
    if missing:
        figure.update_yaxes(
            type="log",
            autorange="reversed",
            tickvals=TICKS,
            ticktext=[f"{value:g}" for value in TICKS],
        )
    return as_html(figure, f"front-{cost}")


def as_html(figure: go.Figure, name: str, *, height: int | None = None) -> Markup:
    """Return a figure as a part of a page that holds the drawing program."""
    if height is not None:
        figure.update_layout(height=height, template="plotly_white")
    return Markup(
        figure.to_html(
            full_html=False,
            include_plotlyjs=False,
            div_id=name,
            auto_play=False,
            config={"displaylogo": False, "responsive": True},
        )
    )
