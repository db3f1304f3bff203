"""The paper's tables as typed data.

Raureanu, "Transfer Learning For Cell Image Reconstruction", 2021: Tables 1 and 2 (averages on
BBBC006 and BBBC005), 3 and 4 (by z-plane), 5 (by blur level). Its column "RMSE" is not the root of
its "MSE"; it behaves as scikit-image's normalised RMSE, and is compared with that. ``python -m
analysis.paper_tables`` prints the inconsistencies in the tables.
"""

from __future__ import annotations

import csv
import sys
from dataclasses import replace
from functools import lru_cache
from itertools import groupby
from pathlib import Path

from analysis.audit import Inconsistency, Row, audit_table, stated_number_of_images
from study.data.layouts import all_layouts, layout_of
from study.data.planes import PaperFacts
from study.record.events import ReferenceScored
from study.record.identities import Reference, ReferenceRole

TABLES_FILE = Path(__file__).with_name("paper_tables.csv")
FAMILIES = ("whole", "split")


def paper_facts(kind: str) -> PaperFacts | None:
    """Return what the paper has of a data set; None for one that it does not have."""
    layout = all_layouts().get(kind)
    return None if layout is None else layout.paper


def defocused_levels(kind: str) -> list[int]:
    """Return a data set's levels without the in-focus one."""
    layout = layout_of(kind)
    return [level for level in layout.all_levels if level != layout.in_focus_level]


def training_set() -> tuple[str, int]:
    """Return the title of the data set that the paper's networks were trained on, and its number of
    fields in the paper.
    """
    return next(
        (layout.title, layout.paper.fields)
        for layout in all_layouts().values()
        if layout.paper is not None and layout.paper.trained_on
    )


@lru_cache(maxsize=1)
def tables() -> tuple[Row, ...]:
    """Return all rows of the paper's tables, with the levels of the data sets."""
    counted = {
        facts.level_table: defocused_levels(kind)
        for kind in all_layouts()
        if (facts := paper_facts(kind)) is not None and facts.counts_levels
    }
    rows = []
    with TABLES_FILE.open(newline="", encoding="utf-8") as file:
        for line in csv.DictReader(file):
            level = int(line["level"]) if line["level"] else None
            if level is not None and line["table"] in counted:
                level = counted[line["table"]][level - 1]
            values = float(line["rmse"]), float(line["psnr"]), float(line["ssim"])
            rows.append(Row(line["table"], line["autoencoder"], level, line["mse"], *values))
    return tuple(rows)


def averages(kind: str) -> dict[str, Row]:
    """Return the paper's averages on one data set: whole and split; empty if it has none."""
    facts = paper_facts(kind)
    if facts is None:
        return {}
    return {row.autoencoder: row for row in tables() if row.table == facts.averages_table}


def curve(kind: str, family: str) -> list[Row]:
    """Return the paper's rows by level on one data set, ascending; empty if it has none."""
    facts = paper_facts(kind)
    if facts is None:
        return []
    return [row for row in tables() if (row.table, row.autoencoder) == (facts.level_table, family)]


def reference_curves(kind: str) -> list[ReferenceScored]:
    """Return the paper's curves on one data set as events of a ledger."""
    references = []
    for family, average in averages(kind).items():
        rows = curve(kind, family)
        references.append(
            ReferenceScored(
                reference=Reference(ReferenceRole.PAPER, "paper", name=family),
                eval_split="paper",
                levels=[row.level for row in rows if row.level is not None],
                fields=[],
                wells=[],
                evaluation={
                    "ssim": [[row.ssim for row in rows]],
                    "psnr": [[row.psnr for row in rows]],
                    "nrmse": [[row.rmse for row in rows]],
                },
                own={},
                summary={"ssim": average.ssim, "psnr": average.psnr, "nrmse": average.rmse},
            )
        )
    return references


def printed_level(kind: str, level: int) -> int:
    """Return the number that a level has in the paper's tables, where it counts them from 1."""
    facts = paper_facts(kind)
    if facts is None or not facts.counts_levels:
        return level
    return defocused_levels(kind).index(level) + 1


def audit() -> list[Inconsistency]:
    """Return the inconsistencies in the paper's tables; levels are counted as the paper does."""
    inconsistencies: list[Inconsistency] = []
    printed = {
        facts.averages_table: kind
        for kind in all_layouts()
        if (facts := paper_facts(kind)) is not None
    }
    for _, kind in sorted(printed.items()):
        rows = [row for family in FAMILIES for row in curve(kind, family)]
        as_printed = [replace(row, level=printed_level(kind, row.level or 0)) for row in rows]
        inconsistencies += audit_table(as_printed, list(averages(kind).values()))
    stated = stated_number_of_images(4608, planes=33, images_a_plane=768, share=0.2)
    return inconsistencies + ([stated] if stated else [])


def main() -> int:
    """Print the audit."""
    for rule, inconsistencies in groupby(audit(), key=lambda one: one.rule):
        print(f"\n{rule}")
        for inconsistency in inconsistencies:
            print(f"  {inconsistency}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
