"""The pieces of a report: tables, figures, notes. One file, no network; still figures for paper,
interactive ones for a screen.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable, Sequence
from html import escape

import pandas as pd
import plotly.offline
from matplotlib.figure import Figure

from analysis.compare import final_images
from analysis.figures import save_figure
from analysis.load import Study

STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; max-width: 70rem; margin: 2rem auto; padding: 0 1rem;
  color: #222; }
table { border-collapse: collapse; margin: 0.8rem 0; font-variant-numeric: tabular-nums; }
th, td { padding: 0.25rem 0.7rem; text-align: right; border-bottom: 1px solid #ddd;
  white-space: nowrap; vertical-align: top; }
th:first-child, td:first-child, td.text { text-align: left; }
td.text { white-space: normal; min-width: 22rem; font-size: 0.85rem; }
tr.winner td { font-weight: 600; }
tr.reference td { color: #555; font-style: italic; }
tr.verdict td { color: #555; font-size: 0.85rem; white-space: normal; }
table.narrow td { white-space: normal; } th { white-space: normal; } th.text { text-align: left; }
.wide { overflow-x: auto; }
img { max-width: 100%; }
.warning { background: #fff3cd; padding: 0.6rem 1rem; }
code { background: #f3f3f3; padding: 0 0.2rem; }
figcaption, .note { color: #555; font-size: 0.9rem; }
figure { margin: 1rem 0; }
.source { color: #777; font-size: 0.8rem; } nav a { margin-right: 1rem; }
@media screen { .still { display: none; } }
@media print { .interactive, nav { display: none; }
  details::details-content { content-visibility: visible; block-size: auto; } }
"""
NO_SCRIPT = (
    "<noscript><style>.still { display: block !important; } .interactive { display: none;"
    " }</style></noscript>"
)
TEXT = ' class="text"'
PROSE = ("hyperparameters", "reason", "the paper", "found here")


def page(title: str, parts: Iterable[str]) -> str:
    """Return a whole page; the drawing program for interactive figures is part of it."""
    return (
        '<!doctype html>\n<html lang="en"><head><meta'
        f' charset="utf-8"><title>{escape(title)}</title><style>{STYLE}</style>{NO_SCRIPT}'
        f"<script>{plotly.offline.get_plotlyjs()}</script></head>\n"
        f"<body><h1>{escape(title)}</h1>\n" + "\n".join(parts) + "\n</body></html>\n"
    )


def heading(text: str, anchor: str) -> str:
    """Return a section's heading."""
    return f'<h2 id="{anchor}">{escape(text)}</h2>'


def paragraph(text: str, kind: str = "") -> str:
    """Return a paragraph of the class `kind`."""
    return f'<p class="{kind}">{escape(text)}</p>' if kind else f"<p>{escape(text)}</p>"


def bullets(sentences: Iterable[str]) -> str:
    """Return a list."""
    return f"<ul>{''.join(f'<li>{escape(sentence)}</li>' for sentence in sentences)}</ul>"


def fold(title: str, content: str) -> str:
    """Return what is shown when its title is clicked."""
    return f"<details><summary>{escape(title)}</summary>{content}</details>"


def table(rows: pd.DataFrame, *, classes: Sequence[str] = (), narrow: bool = False) -> str:
    """Return a table of texts; `classes` are those of its rows. A `narrow` one breaks lines in its
    cells.
    """
    head = "".join(
        f"<th{TEXT if name in PROSE else ''}>{escape(str(name))}</th>" for name in rows.columns
    )
    body = []
    for number, (_, row) in enumerate(rows.iterrows()):
        kind = f' class="{classes[number]}"' if classes else ""
        cells = ((str(value), TEXT if name in PROSE else "") for name, value in row.items())
        body.append(
            f"<tr{kind}>"
            + "".join(f"<td{style}>{escape(value)}</td>" for value, style in cells)
            + "</tr>"
        )
    kind = ' class="narrow"' if narrow else ""
    rows_text = "".join(body)
    return (
        f'<div class="wide"><table{kind}><thead><tr>{head}</tr></thead>'
        f"<tbody>{rows_text}</tbody></table></div>"
    )


def figure(study: Study, still: Figure, name: str, caption: str, *, interactive: str = "") -> str:
    """Return a figure with its caption, and keep it as figures/NAME.png; on a screen the
    interactive one stands in its place.
    """
    path = save_figure(still, study.folder / "figures" / f"{name}.png")
    data = base64.b64encode(path.read_bytes()).decode()
    image = (
        f'<img alt="{escape(caption)}"'
        f' src="data:image/png;base64,{data}"{" class=still" if interactive else ""}>'
    )
    shown = f'<div class="interactive">{interactive}</div>' if interactive else ""
    return f"<figure>{shown}{image}<figcaption>{escape(caption)}</figcaption></figure>"


def source(study: Study, labels: Iterable[str] | None = None) -> str:
    """Name the ledger's rows and the store that a table or figure of the outcome is made from."""
    images = final_images(study)
    if labels is not None:
        images = images[images["label"].isin(list(labels))]
    named = []
    for _, run in images.drop_duplicates(["label", "replicate"]).iterrows():
        seed = "" if run["phase"] == "reference" else f", seed {run['replicate']}"
        named.append(f"{run['row']} ({run['label']}{seed})")
    return source_rows(study, ", ".join(named))


def source_rows(study: Study, rows: str) -> str:
    """Name ledger rows and the store."""
    fingerprint = study.header["store"]["fingerprint"]
    return (
        f'<p class="source">From ledger.jsonl, rows {escape(rows)}; images of store'
        f" <code>{escape(fingerprint[:16])}</code>.</p>"
    )
