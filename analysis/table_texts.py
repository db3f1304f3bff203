"""Cells as texts: the reproduced tables (ours with its interval, the paper's beside it, the sign
or words of a verdict), columns of numbers, hyperparameters.
"""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd

from analysis.load import Study
from analysis.paper_tables import paper_facts, printed_level
from analysis.reproduced_tables import PRINTED, average_table
from analysis.verdicts import MARGINS, Judgement, Verdict

TITLES = {
    "mse": "MSE",
    "nrmse": "NRMSE (the paper’s “RMSE”)",
    "psnr": "PSNR (dB)",
    "ssim": "SSIM",
    "ssim_range2": "SSIM, data range 2",
    "rmse": "RMSE",
}
DIGITS = {"psnr": 2, "mse": 4}  # of a metric; 3 of the others
SIGNS = {
    Verdict.SAME: "=",
    Verdict.BETTER: "+",
    Verdict.WORSE: "−",
    Verdict.INCONCLUSIVE: "?",
    Verdict.NOT_COMPARABLE: "n. c.",
    Verdict.NONE: "n. v.",
}
MARGINS_NOTE = (
    "within the margin ("
    + ", ".join(f"{metric.upper()} {margin:g}" for metric, margin in MARGINS.items())
    + ")"
)
SIGNS_NOTE = (
    f"= same (two one-sided tests at 5 % put ours {MARGINS_NOTE} of what is printed), + better, −"
    " worse than printed (the 95 % interval leaves it out), ? inconclusive, n. c. not comparable,"
    " n. v. no verdict (too few wells); blank: the paper has no such cell."
)


def average_text(study: Study) -> str:
    """Return the table of averages for a terminal."""
    facts = paper_facts(study.kind)
    beside = f"Beside the paper's Table {facts.averages_table}" if facts else "Averages"
    rows = average_rows(study).to_string(index=False)
    return f"{beside} (each network at its own size):\n{rows}"


def average_rows(study: Study) -> pd.DataFrame:
    """Return the table of averages as texts: for each model a row of ours and, where there is one,
    of the paper's and of verdicts.
    """
    table, rows = average_table(study), []
    for label in table["label"].unique():
        cells = table[table["label"] == label].set_index("metric")
        ours = {TITLES[metric]: with_interval(cells.loc[metric], metric) for metric in TITLES}
        rows.append({"network": label, "": "ours", **ours})
        if cells["paper"].any():
            printed = {TITLES[metric]: cells.loc[metric, "paper"] for metric in TITLES}
            verdicts = {
                TITLES[metric]: str(cells.loc[metric, "verdict"] or "") for metric in TITLES
            }
            rows.append({"network": "", "": "paper", **printed})
            rows.append({"network": "", "": "verdict", **verdicts})
    return pd.DataFrame(rows)


def level_rows(study: Study, table: pd.DataFrame) -> pd.DataFrame:
    """Return one model's table by level as texts: ours, the paper's, and how they compare."""
    title, rows = study.dataset.level_title, []
    for level in sorted(table["level"].unique()):
        cells = table[table["level"] == level].set_index("metric")
        number = printed_level(study.kind, level)
        row = {title: str(level) if number == level else f"{level} (level {number})"}
        for metric, column in PRINTED.items():
            cell = cells.loc[metric]
            row |= {
                TITLES[metric]: f"{cell['ours']:.3f}",
                f"paper’s {column}": cell["paper"],
                f"{column}?": verdict_sign(cell["verdict"]),
            }
        row[TITLES["ssim_range2"]] = f"{cells.loc['ssim_range2', 'ours']:.3f}"
        rows.append(row)
    return pd.DataFrame(rows)


def verdict_sign(judgement: Judgement | None) -> str:
    """Return a verdict as a sign, see `SIGNS_NOTE`."""
    return "" if judgement is None else SIGNS[judgement.verdict]


def with_interval(cell: pd.Series, metric: str) -> str:
    """Return a mean with its interval, where it has one."""
    digits = DIGITS.get(metric, 3)
    interval = (
        ""
        if pd.isna(cell["low"])
        else f" [{cell['low']:.{digits}f},\N{NO-BREAK SPACE}{cell['high']:.{digits}f}]"
    )
    return f"{cell['ours']:.{digits}f}{interval}"


def column_texts(table: pd.DataFrame, column: str | int, text: str) -> pd.Series:
    """Return a column's numbers as texts; empty where there is no number, or no such column."""
    if column not in table:
        return pd.Series("", index=table.index)
    return table[column].map(lambda value: "" if pd.isna(value) else text.format(value))


def hyperparameter_text(hyperparameters: Mapping[str, object]) -> str:
    """Return a configuration in one line."""
    return ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in hyperparameters.items())
