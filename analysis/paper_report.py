"""The part of a report that is held beside the paper: its tables, figures, questions and claims,
each next to ours.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd

from analysis import html, interactive
from analysis.claims import answers, claims, interval_text, leak, leak_text, stitching_table
from analysis.compare import by_level, final_phase, ranking, what_differs, what_differs_in_transfer
from analysis.figures import Example, level_curves, load_examples, restorations, seam_profiles
from analysis.load import Study
from analysis.paper_tables import AVERAGES, BY_LEVEL, FIGURE, audit, printed_level
from analysis.statistics import estimate
from analysis.tables import PRINTED, average_table, in_focus_table, level_table

TITLES = {
    "mse": "MSE",
    "nrmse": "NRMSE (the paper’s “RMSE”)",
    "psnr": "PSNR (dB)",
    "ssim": "SSIM",
    "ssim_range2": "SSIM, data range 2",
    "rmse": "RMSE",
}
MARKS = {"same": "=", "better": "+", "worse": "−"}
TABLES_NOTE = (
    "Each model at its own size, as the paper scores it; unrestored input at the size that is"
    " named, or the whole-image network’s. In brackets: 95 % interval over test wells, and over"
    " seeds where there is more than one. The paper’s column “RMSE” behaves as a normalised one"
    " (its audit says why) and stands beside NRMSE; RMSE is the root of MSE. SSIM has data range 1;"
    " the paper may have used 2, as older releases of scikit-image did for floats, so its SSIM"
    " stands beside both. A printed number stands for all that round to it. Verdicts: same (the"
    " interval holds what is printed: not told apart), better or worse than printed, or why the two"
    " cannot be compared; one seed: chance between trainings is not counted."
)
MARKS_NOTE = (
    "= same, + better, − worse than printed, n. c. not comparable, n. v. no verdict (too few"
    " wells); blank: the paper has no such cell."
)


def paper_sections(study: Study) -> Iterator[str]:
    """Yield the sections, as HTML."""
    yield html.heading("Beside the paper", "paper")
    yield "<p>What differs from the paper’s experiment:</p>" + html.bullets(what_differs(study))
    yield from _questions(study)
    yield from _tables(study)
    yield html.fold(
        "What in the paper’s own tables does not fit together (python -m analysis.paper_tables)",
        html.bullets(map(str, audit())),
    )
    yield from _pictures(study, figures=("4", "5", "6") if study.kind == "bbbc006" else ("9",))
    yield from _in_focus(study)
    yield from _stitching(study)
    yield from _leak(study)
    if study.transfer is not None:
        yield from _transfer(study.transfer)


def result_tables(study: Study) -> dict[str, pd.DataFrame]:
    """Return the tables that stand beside the paper's, by the name of their file; those of a
    transfer begin with `transfer_`.
    """
    found = {**_cell_tables(study), "claims": pd.DataFrame(claims(study))}
    if len(rows := stitching_table(study)):
        found["stitching"] = rows
    if study.transfer is not None:
        other = {**_cell_tables(study.transfer), "images": study.transfer.images}
        found |= {f"transfer_{name}": table for name, table in other.items()}
    return found


def _cell_tables(study: Study) -> dict[str, pd.DataFrame]:
    return {
        f"paper_table_{AVERAGES[study.kind]}": average_table(study),
        f"paper_table_{BY_LEVEL[study.kind]}": level_table(study),
        "in_focus": in_focus_table(study),
    }


def average_text(study: Study) -> str:
    """Return the table of averages for a terminal."""
    shown = _average_rows(study)
    heading = f"Beside the paper's Table {AVERAGES[study.kind]} (each network at its own size):"
    return f"{heading}\n{shown.to_string(index=False)}"


def _questions(study: Study) -> Iterator[str]:
    yield "<h3>The research questions</h3>"
    for question, sentences in answers(study):
        yield html.paragraph(question) + html.bullets(sentences)
    found = claims(study)
    shown = pd.DataFrame(
        {
            "the paper": [one.claim for one in found],
            "here": [one.agrees for one in found],
            "found here": [one.found for one in found],
        }
    )
    yield "<h3>The paper’s claims</h3>" + html.table(shown) + html.source(study)
    if study.transfer is not None:
        yield html.source(study.transfer)
    if study.stitching:
        yield _stitching_source(study)


def _tables(study: Study) -> Iterator[str]:
    yield f"<h3>Table {AVERAGES[study.kind]}: averages</h3>" + html.paragraph(TABLES_NOTE, "note")
    rows = _average_rows(study)
    yield html.table(
        rows, classes=["verdict" if source == "verdict" else "" for source in rows[""]], narrow=True
    ) + html.source(study)
    yield f"<h3>Table {BY_LEVEL[study.kind]}: by {study.header['images']['level_title']}</h3>"
    yield html.paragraph(
        "Ours, then the paper’s and how they compare. The intervals are in tables/*.csv."
        f" {MARKS_NOTE}",
        "note",
    )
    table = level_table(study)
    for label in table["label"].unique():
        yield html.fold(
            label,
            html.table(_level_rows(study, table[table["label"] == label]))
            + html.source(study, [label]),
        )


def _average_rows(study: Study) -> pd.DataFrame:
    """Return the table of averages as texts: for each model a row of ours and, where there is one,
    of the paper's and of verdicts.
    """
    table, rows = average_table(study), []
    for label in table["label"].unique():
        cells = table[table["label"] == label].set_index("metric")
        rows.append(
            {
                "network": label,
                "": "ours",
                **{TITLES[metric]: _with_interval(cells.loc[metric], metric) for metric in TITLES},
            }
        )
        if cells["paper"].any():
            printed = {TITLES[metric]: cells.loc[metric, "paper"] for metric in TITLES}
            rows.append({"network": "", "": "paper", **printed})
            rows.append(
                {
                    "network": "",
                    "": "verdict",
                    **{TITLES[metric]: cells.loc[metric, "verdict"] for metric in TITLES},
                }
            )
    return pd.DataFrame(rows)


def _level_rows(study: Study, table: pd.DataFrame) -> pd.DataFrame:
    title, rows = study.header["images"]["level_title"], []
    for level in sorted(table["level"].unique()):
        cells = table[table["level"] == level].set_index("metric")
        row = {
            title: (
                f"{level} (level {printed_level(study.kind, level)})"
                if study.kind == "bbbc005"
                else str(level)
            )
        }
        for metric in PRINTED:
            cell = cells.loc[metric]
            row |= {
                TITLES[metric]: f"{cell['ours']:.3f}",
                f"paper’s {PRINTED[metric]}": cell["paper"],
                f"{PRINTED[metric]}?": _mark(cell["verdict"]),
            }
        rows.append(row)
    return pd.DataFrame(rows)


def _stitching_source(study: Study) -> str:
    asked = sorted(study.stitching, key=lambda event: (event["trial"], event["replicate"]))
    return html.source_rows(
        study,
        ", ".join(
            f"{event['row']} (stitching of {event['label']}, seed {event['replicate']})"
            for event in asked
        ),
    )


def _mark(verdict: str) -> str:
    return MARKS.get(
        verdict.removesuffix(" (one seed)"),
        "n. c." if verdict.startswith("not") else "n. v." if verdict else "",
    )


def _with_interval(cell: pd.Series, metric: str) -> str:
    digits = 2 if metric == "psnr" else 4 if metric == "mse" else 3
    interval = (
        ""
        if pd.isna(cell["low"])
        else f" [{cell['low']:.{digits}f},\N{NO-BREAK SPACE}{cell['high']:.{digits}f}]"
    )
    return f"{cell['ours']:.{digits}f}{interval}"


def _pictures(
    study: Study, *, figures: tuple[str, ...], file: str = "examples.npz"
) -> Iterator[str]:
    examples = _examples(study, file)
    if not examples:
        return
    title, field = study.header["images"]["level_title"], str(examples[0][1]["field"])
    levels = [int(level) for level in examples[0][1]["levels"]]
    name = "restorations" if file == "examples.npz" else "transfer-restorations"
    caption = (
        f"Field {field}: defocused (what the unrestored input gives), with its best affine fit,"
        " restored by each network (first seed), in focus."
    )
    moving = interactive.restorations(examples, name=name, level_title=title)
    yield "<h3>Restorations</h3>"
    yield html.figure(
        study, restorations(examples, level_title=title), name, caption, interactive=moving
    )
    defocused = [level for level in levels if level != study.in_focus]
    middle = defocused[len(defocused) // 3]
    shown = {
        "4": ([middle], "one field"),
        "5": ([levels[0], study.in_focus, levels[-1]], "the same field"),
        "6": ([levels[-1]], "the last plane"),
        "9": ([defocused[len(defocused) // 2]], "a synthetic image"),
    }
    for number in figures:
        chosen, what = shown[number]
        text = (
            f"Figure {number} of the paper made again: {what} at {title}"
            f" {', '.join(map(str, chosen))}."
        )
        yield html.figure(
            study,
            restorations(examples, level_title=title, levels=chosen),
            f"figure-{number}",
            text,
        )
    runs = study.trials[
        (study.trials["phase"] == final_phase(study)) & (study.trials["replicate"] == 0)
    ]
    named = ", ".join(
        f"{row['row']} ({row['label']}: {Path(row['folder']).name}/{file})"
        for _, row in runs.iterrows()
    )
    yield html.source_rows(study, f"{named} in the folder trials")


def _examples(study: Study, file: str) -> list[Example]:
    """Return the examples that the outcome's networks left: baselines first, then the winner."""
    phase, chosen = final_phase(study), []
    table = ranking(study)
    for role in ("baseline", "winner"):
        for trial in sorted(table[table["role"] == role]["trial"]):
            runs = study.trials[
                (study.trials["phase"] == phase)
                & (study.trials["trial"] == trial)
                & (study.trials["replicate"] == 0)
            ]
            found = load_examples(Path(runs["folder"].iloc[0]), file) if len(runs) else None
            if found is not None:
                chosen.append((str(runs["label"].iloc[0]), found))
    return chosen


def _in_focus(study: Study) -> Iterator[str]:
    table = in_focus_table(study)
    if table.empty:
        return
    rows = []
    for label in table["label"].unique():
        cells = table[table["label"] == label].set_index("metric")
        rows.append(
            {
                "": label,
                **{
                    TITLES[metric]: _with_interval(cells.loc[metric], metric)
                    for metric in ("ssim", "psnr", "nrmse")
                },
            }
        )
    title = study.header["images"]["level_title"]
    yield f"<h3>Harm done to an image that is in focus already ({title} {study.in_focus})</h3>"
    yield html.paragraph(
        "Restorations of the in-focus image itself, at the evaluation resolution, where the"
        " unrestored input is exact. What a network lacks up to a perfect restoration of its own"
        " image size is harm; what that lacks up to the unrestored input is the size.",
        "note",
    )
    yield html.table(pd.DataFrame(rows)) + html.source(study)


def _stitching(study: Study) -> Iterator[str]:
    rows = stitching_table(study)
    if rows.empty:
        return
    yield "<h3>The bordering effect of stitching</h3>"
    levels = ", ".join(str(level) for level in study.stitching[0]["levels"])
    yield html.paragraph(
        "The same weights, patch by patch and on the whole image at once, at"
        f" {study.header['images']['level_title']} {levels}: mean absolute error within"
        f" {rows['border_px'].iloc[0]} px of a seam between patches and elsewhere, at the network’s"
        " own size.",
        "note",
    )
    shown = []
    for label, runs in rows.groupby("label"):
        for mode in ("stitched", "whole"):
            means = {
                part: float(runs[f"{part}_{mode}"].mean())
                for part in ("border", "inside", "ssim", "psnr")
            }
            shown.append(
                {
                    "": label,
                    "inference": mode,
                    "error at seams": f"{means['border']:.5f}",
                    "error elsewhere": f"{means['inside']:.5f}",
                    "SSIM": f"{means['ssim']:.4f}",
                    "PSNR (dB)": f"{means['psnr']:.2f}",
                }
            )
        excess = estimate(runs, metric="excess")
        shown.append(
            {
                "": "",
                "inference": "excess at seams",
                "error at seams": interval_text(excess, digits=5),
            }
        )
        asked = [event for event in study.stitching if event["label"] == label]
        half = asked[0]["patch_size"] // 2
        profile = {
            mode: np.mean([event["profile"][mode] for event in asked], axis=0)[:half].tolist()
            for mode in ("stitched", "whole")
        }
        caption = f"{label}: error by distance to the nearest seam."
        name = f"seams-{int(runs['row'].iloc[0])}"
        yield html.figure(
            study, seam_profiles(profile, border_px=int(runs["border_px"].iloc[0])), name, caption
        )
    yield html.table(pd.DataFrame(shown).fillna(""))
    yield _stitching_source(study)


def _leak(study: Study) -> Iterator[str]:
    found = leak(study)
    if found is None:
        return
    rows = [
        {
            "": metric.upper(),
            "split within levels": f"{within:.4f}",
            "split by well": f"{by_well:.4f}",
            "difference": interval_text(difference, digits=4),
        }
        for metric, (within, by_well, difference) in found.rows.items()
    ]
    yield (
        "<h3>What the paper’s split leaks</h3>"
        + html.paragraph(leak_text(found))
        + html.table(pd.DataFrame(rows))
    )
    leaking = study.images[study.images["phase"] == "leak"].groupby("replicate")["row"].first()
    yield html.source_rows(
        study, ", ".join(f"{row} (within levels, seed {seed})" for seed, row in leaking.items())
    )
    yield html.source(study, [found.label])


def _transfer(other: Study) -> Iterator[str]:
    images = other.header["images"]
    yield html.heading(f"The same networks on {images['title']}", "transfer")
    yield "<p>What differs from the paper’s experiment:</p>" + html.bullets(
        what_differs_in_transfer(other)
    )
    yield from curve_figures(other, prefix="transfer-")
    yield from _tables(other)
    yield from _pictures(
        other, figures=("9",) if other.kind == "bbbc005" else (), file="transfer_examples.npz"
    )
    yield from _in_focus(other)


def curve_figures(study: Study, *, prefix: str = "") -> Iterator[str]:
    """Yield the curves by level: the paper's figure made again, each model at its own size, and all
    at the evaluation resolution.
    """
    images = study.header["images"]
    drawn = {"level_axis": images["level_axis"], "in_focus": images["in_focus_level"]}
    for own, place in (
        (False, "at the evaluation resolution, where models can be compared with each other"),
        (True, "each at its own size, as the paper’s"),
    ):
        for metric in ("ssim", "psnr"):
            table = by_level(study, metric, own=own)
            if not own:
                table = table[~table.index.str.startswith("paper: ")]
            name = f"{prefix}{metric}-by-level{'-own-size' if own else ''}"
            made = f"{FIGURE[study.kind]} of the paper made again: " if own else ""
            note = (
                " “paper’s …”: the paper’s networks, trained here; grey, “paper: …”: the printed"
                " curves."
                if own
                else ""
            )
            still, moving = (
                level_curves(table, metric=metric, **drawn),
                interactive.curves(table, name=name, metric=metric, **drawn),
            )
            yield html.figure(
                study,
                still,
                name,
                f"{made}{metric.upper()} by level, {place}.{note}",
                interactive=moving,
            )
    yield html.source(study)
