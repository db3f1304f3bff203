"""The part of a report that is held beside the paper: its tables, figures, questions and claims,
each next to ours.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pandas as pd

from analysis.claims import check_claims
from analysis.figures import seam_profiles
from analysis.leak import measure_leak
from analysis.load import Study
from analysis.page import (
    Block,
    Bullets,
    Fold,
    Heading,
    Paragraph,
    Source,
    Table,
    outcome_source,
    picture,
    source,
)
from analysis.paper_deviations import deviations, transfer_deviations
from analysis.paper_figures import TRANSFER_EXAMPLES, curve_figures, restoration_figures
from analysis.paper_tables import audit, paper_facts
from analysis.questions import answers
from analysis.reproduced_tables import average_table, in_focus_table, level_table
from analysis.sentences import interval_text
from analysis.statistics import estimate
from analysis.stitching import MODES, stitching_table
from analysis.table_texts import (
    MARGINS_NOTE,
    SIGNS_NOTE,
    TITLES,
    average_rows,
    level_rows,
    with_interval,
)
from study.record.identities import Phase

TABLES_NOTE = (
    "Each model at its own size, as the paper scores it; the unrestored input at the size that is"
    " named, or the whole-image network’s. In brackets: 95 % interval over test wells, and over"
    " seeds where there is more than one. The paper’s column “RMSE” behaves as a normalised one"
    " (its audit says why) and is judged beside NRMSE alone; RMSE is the root of MSE. Its SSIM is"
    " judged beside ours of data range 1; it may have used 2, as older releases of scikit-image did"
    " for floats, so ours of range 2 is shown too, without a verdict. A printed number stands for"
    f" all that round to it. Verdicts: same (two one-sided tests at 5 % put ours {MARGINS_NOTE} of"
    " what is printed), better or worse than printed (the 95 % interval leaves it out),"
    " inconclusive, or why the two cannot be compared; one seed: chance between trainings is not"
    " counted."
)
DEVIATIONS_TITLE = "What differs from the paper’s experiment:"


def paper_sections(study: Study) -> Iterator[Block]:
    """Yield the sections."""
    yield Heading("Beside the paper", "paper")
    yield Paragraph(DEVIATIONS_TITLE)
    yield Bullets(deviations(study))
    yield from _questions(study)
    yield from _claims(study)
    yield from _tables(study)
    facts = paper_facts(study.kind)
    if facts is not None:
        yield Fold(
            "Inconsistencies in the paper’s own tables (python -m analysis.paper_tables)",
            [Bullets([str(one) for one in audit()])],
        )
    figures = facts.example_figures if facts else ()
    yield from restoration_figures(study, figures=figures)
    yield from _in_focus(study)
    yield from _stitching(study)
    yield from _leak(study)
    if study.transfer is not None:
        yield from _transfer(study.transfer)


def result_tables(study: Study) -> dict[str, pd.DataFrame]:
    """Return the tables that stand beside the paper's, by the name of their file; those of a
    transfer begin with `transfer_`.
    """
    claims = pd.DataFrame(
        {"claim": check.claim, "found": check.measured, "agrees": check.agreement}
        for check in check_claims(study)
    )
    tables = {**_cell_tables(study), "claims": claims}
    if len(rows := stitching_table(study)):
        tables["stitching"] = rows
    if study.transfer is not None:
        other = {**_cell_tables(study.transfer), "images": study.transfer.images}
        tables |= {f"transfer_{name}": table for name, table in other.items()}
    return tables


def _cell_tables(study: Study) -> dict[str, pd.DataFrame]:
    facts = paper_facts(study.kind)
    averages = f"paper_table_{facts.averages_table}" if facts else "averages"
    levels = f"paper_table_{facts.level_table}" if facts else "levels"
    return {
        averages: average_table(study),
        levels: level_table(study),
        "in_focus": in_focus_table(study),
    }


def _questions(study: Study) -> Iterator[Block]:
    yield Heading("The research questions")
    for question, sentences in answers(study):
        yield Paragraph(question)
        yield Bullets(sentences)


def _claims(study: Study) -> Iterator[Block]:
    checks = check_claims(study)
    yield Heading("The paper’s claims")
    yield Table(
        pd.DataFrame(
            {
                "the paper": [check.claim for check in checks],
                "here": [check.agreement for check in checks],
                "found here": [check.measured for check in checks],
            }
        )
    )
    yield outcome_source(study)
    if study.transfer is not None:
        yield outcome_source(study.transfer)
    if study.history.stitchings:
        yield _stitching_source(study)


def _tables(study: Study) -> Iterator[Block]:
    facts, title = paper_facts(study.kind), study.dataset.level_title
    yield Heading(f"Table {facts.averages_table}: averages" if facts else "Averages")
    yield Paragraph(TABLES_NOTE, "note")
    rows = average_rows(study)
    styles = ["verdict" if content == "verdict" else "" for content in rows[""]]
    yield Table(rows, row_styles=styles, narrow=True)
    yield outcome_source(study)
    yield Heading(f"Table {facts.level_table}: by {title}" if facts else f"By {title}")
    yield Paragraph(
        "Ours, then the paper’s and how they compare. The intervals are in tables/*.csv."
        f" {SIGNS_NOTE}",
        "note",
    )
    table = level_table(study)
    for label in table["label"].unique():
        cells = Table(level_rows(study, table[table["label"] == label]))
        yield Fold(label, [cells, outcome_source(study, [label])])


def _in_focus(study: Study) -> Iterator[Block]:
    table = in_focus_table(study)
    if table.empty:
        return
    rows = []
    for label in table["label"].unique():
        cells = table[table["label"] == label].set_index("metric")
        metrics = ("ssim", "psnr", "nrmse")
        texts = {TITLES[metric]: with_interval(cells.loc[metric], metric) for metric in metrics}
        rows.append({"": label, **texts})
    title = study.dataset.level_title
    yield Heading(f"Harm done to an image that is in focus already ({title} {study.in_focus})")
    yield Paragraph(
        "Restorations of the in-focus image itself, at the evaluation resolution, where the"
        " unrestored input is exact. By how much a network is below the upper bound at its own"
        " image size is harm; by how much the upper bound is below the unrestored input is due to"
        " the size.",
        "note",
    )
    yield Table(pd.DataFrame(rows))
    yield outcome_source(study)


def _stitching(study: Study) -> Iterator[Block]:
    table = stitching_table(study)
    if table.empty:
        return
    yield Heading("The bordering effect of stitching")
    events = study.history.stitchings
    levels = ", ".join(str(level) for level in next(iter(events.values())).levels)
    yield Paragraph(
        "The same weights, patch by patch and on the whole image at once, at"
        f" {study.dataset.level_title} {levels}: mean absolute error within"
        f" {table['border_px'].iloc[0]} px of a seam between patches and elsewhere, at the"
        " network’s own size.",
        "note",
    )
    rows = []
    for label, runs in table.groupby("label"):
        for mode in MODES:
            means = {part: runs[f"{part}_{mode}"].mean() for part in ("border", "inside")}
            scores = {part: runs[f"{part}_{mode}"].mean() for part in ("ssim", "psnr")}
            rows.append(
                {
                    "": label,
                    "inference": mode,
                    "error at seams": f"{means['border']:.5f}",
                    "error elsewhere": f"{means['inside']:.5f}",
                    "SSIM": f"{scores['ssim']:.4f}",
                    "PSNR (dB)": f"{scores['psnr']:.2f}",
                }
            )
        excess = interval_text(estimate(runs, metric="excess"), digits=5)
        rows.append({"": "", "inference": "excess at seams", "error at seams": excess})
        yield _seam_figure(study, str(label), runs)
    yield Table(pd.DataFrame(rows).fillna(""))
    yield _stitching_source(study)


def _seam_figure(study: Study, label: str, runs: pd.DataFrame) -> Block:
    history = study.history
    events = [one for run, one in history.stitchings.items() if history.runs[run].label == label]
    half = events[0].patch_size // 2
    profiles = {
        mode: np.mean([event.profile[mode] for event in events], axis=0)[:half].tolist()
        for mode in MODES
    }
    return picture(
        study,
        seam_profiles(profiles, border_px=int(runs["border_px"].iloc[0])),
        f"seams-{int(runs['row'].iloc[0])}",
        f"{label}: error by distance to the nearest seam.",
    )


def _stitching_source(study: Study) -> Source:
    history = study.history
    rows = (
        f"{history.stitchings[run].row} (stitching of {history.runs[run].label}, seed"
        f" {run.replicate})"
        for run in sorted(history.stitchings)
    )
    return source(study, ", ".join(rows))


def _leak(study: Study) -> Iterator[Block]:
    leak = measure_leak(study)
    if leak is None:
        return
    rows = [
        {
            "": metric.upper(),
            "split within levels": f"{within:.4f}",
            "split by well": f"{by_well:.4f}",
            "difference": interval_text(difference, digits=4),
        }
        for metric, (within, by_well, difference) in leak.rows.items()
    ]
    yield Heading("What the paper’s split leaks")
    yield Paragraph(leak.text)
    yield Table(pd.DataFrame(rows))
    runs = study.images[study.images["phase"] == Phase.LEAK].groupby("replicate")["row"].first()
    yield source(
        study, ", ".join(f"{row} (within levels, seed {seed})" for seed, row in runs.items())
    )
    yield outcome_source(study, [leak.label])


def _transfer(other: Study) -> Iterator[Block]:
    yield Heading(f"The same networks on {other.dataset.title}", "transfer")
    yield Paragraph(DEVIATIONS_TITLE)
    yield Bullets(transfer_deviations(other))
    yield from curve_figures(other, prefix="transfer-")
    yield from _tables(other)
    facts = paper_facts(other.kind)
    figures = facts.example_figures if facts and not facts.trained_on else ()
    yield from restoration_figures(other, figures=figures, file=TRANSFER_EXAMPLES)
    yield from _in_focus(other)
