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
from typing import Any

from analysis.audit import Inconsistency, Row, audit_table, stated_number_of_images

TABLES_FILE = Path(__file__).with_name("paper_tables.csv")
AVERAGES = {"bbbc006": "1", "bbbc005": "2"}
BY_LEVEL = {"bbbc006": "3-4", "bbbc005": "5"}
FIGURE = {"bbbc006": "Figure 2", "bbbc005": "Figure 3"}
NAMES = {"whole": "paper: whole image", "split": "paper: split image"}
BLURS = (
    4,
    7,
    10,
    14,
    17,
    20,
    23,
    26,
    29,
    32,
    35,
    39,
    42,
    45,
    48,
)  # BBBC005's F at the paper's levels 1 to 15


@lru_cache(maxsize=1)
def tables() -> tuple[Row, ...]:
    """Return all rows of the paper's tables."""
    rows = []
    with TABLES_FILE.open(newline="", encoding="utf-8") as file:
        for line in csv.DictReader(file):
            level = int(line["level"]) if line["level"] else None
            if line["table"] == "5" and level is not None:
                level = BLURS[level - 1]
            values = float(line["rmse"]), float(line["psnr"]), float(line["ssim"])
            rows.append(Row(line["table"], line["autoencoder"], level, line["mse"], *values))
    return tuple(rows)


def averages(kind: str) -> dict[str, Row]:
    """Return the paper's averages on one data set: whole and split."""
    return {row.autoencoder: row for row in tables() if row.table == AVERAGES[kind]}


def curve(kind: str, autoencoder: str) -> list[Row]:
    """Return the paper's rows by level on one data set, ascending."""
    return [
        row for row in tables() if row.table == BY_LEVEL[kind] and row.autoencoder == autoencoder
    ]


def reference_curves(kind: str) -> list[dict[str, Any]]:
    """Return the paper's curves as `reference` events of a ledger."""
    references = []
    for autoencoder, name in NAMES.items():
        rows, average = curve(kind, autoencoder), averages(kind)[autoencoder]
        references.append(
            {
                "reference": name,
                "eval_split": "paper",
                "levels": [row.level for row in rows],
                "evaluation": {
                    "ssim": [[row.ssim for row in rows]],
                    "psnr": [[row.psnr for row in rows]],
                    "nrmse": [[row.rmse for row in rows]],
                },
                "summary": {"ssim": average.ssim, "psnr": average.psnr, "nrmse": average.rmse},
            }
        )
    return references


def printed_level(kind: str, level: int) -> int:
    """Return the number that a level has in the paper's tables: its blur levels are counted from
    1.
    """
    return BLURS.index(level) + 1 if kind == "bbbc005" else level


def audit() -> list[Inconsistency]:
    """Return the inconsistencies in the paper's tables; levels are counted as the paper does."""
    inconsistencies: list[Inconsistency] = []
    for kind, table in BY_LEVEL.items():
        rows = [row for row in tables() if row.table == table and row.level is not None]
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
