"""The blocks of a report, and the page that they make: one file, no network; still figures for
paper, interactive ones for a screen.

How a block looks is in ``templates/blocks.html.j2``, which tells blocks by their `kind`.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import pandas as pd
import plotly.offline
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup
from matplotlib.figure import Figure

from analysis.figures import save_figure
from analysis.final_scores import final_images
from analysis.load import REFERENCE, Study

TEMPLATES = Path(__file__).with_name("templates")


@dataclass(frozen=True)
class Heading:
    """A heading: of a section, where it has an `anchor`, or within one."""

    kind: ClassVar[str] = "heading"
    text: str
    anchor: str = ""


@dataclass(frozen=True)
class Navigation:
    """Links to sections: anchor -> title."""

    kind: ClassVar[str] = "navigation"
    links: Mapping[str, str]


@dataclass(frozen=True)
class Paragraph:
    """Sentences; `style` is empty, ``note`` or ``warning``."""

    kind: ClassVar[str] = "paragraph"
    text: str
    style: str = ""


@dataclass(frozen=True)
class Bullets:
    """A list."""

    kind: ClassVar[str] = "bullets"
    sentences: Sequence[str]


@dataclass(frozen=True)
class Table:
    """A table of texts.

    Parameters
    ----------
    rows : pandas.DataFrame
        The cells.
    row_styles : sequence of str
        The class of each row, or nothing.
    narrow : bool
        Break lines in cells.
    """

    kind: ClassVar[str] = "table"
    prose: ClassVar[tuple[str, ...]] = ("hyperparameters", "reason", "the paper", "found here")
    rows: pd.DataFrame
    row_styles: Sequence[str] = ()
    narrow: bool = False


@dataclass(frozen=True)
class Picture:
    """A figure: `interactive` on a screen, `png` (base64) on paper; either may be empty."""

    kind: ClassVar[str] = "figure"
    caption: str
    png: str
    interactive: Markup


@dataclass(frozen=True)
class Source:
    """The ledger's rows and the store that something is made from."""

    kind: ClassVar[str] = "source"
    rows: str
    store: str


@dataclass(frozen=True)
class Fold:
    """Blocks that are shown when their title is clicked."""

    kind: ClassVar[str] = "fold"
    title: str
    blocks: Sequence[Block]


Block = Heading | Navigation | Paragraph | Bullets | Table | Picture | Source | Fold


def render_page(title: str, blocks: Iterable[Block]) -> str:
    """Return a whole page as HTML."""
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    program = Markup(plotly.offline.get_plotlyjs())
    return environment.get_template("report.html.j2").render(
        title=title, blocks=blocks, drawing_program=program
    )


def picture(
    study: Study, still: Figure, name: str, caption: str, *, interactive: Markup | None = None
) -> Picture:
    """Keep a figure as figures/NAME.png of the study's folder, and return it with its caption."""
    path = save_figure(still, study.folder / "figures" / f"{name}.png")
    return Picture(caption, base64.b64encode(path.read_bytes()).decode(), interactive or Markup())


def outcome_source(study: Study, labels: Iterable[str] | None = None) -> Source:
    """Name the ledger's rows that a table or figure of the outcome is made from."""
    images = final_images(study)
    if labels is not None:
        images = images[images["label"].isin(list(labels))]
    rows = []
    for _, run in images.drop_duplicates(["label", "replicate"]).iterrows():
        seed = "" if run["phase"] == REFERENCE else f", seed {run['replicate']}"
        rows.append(f"{run['row']} ({run['label']}{seed})")
    return source(study, ", ".join(rows))


def source(study: Study, rows: str) -> Source:
    """Name rows of the ledger, and the store."""
    return Source(rows, study.store.fingerprint[:16])
