"""Rules that find inconsistencies in a paper's tables of metrics.

The rules know nothing of one paper: they take tables of rows, each with a model, a level and
metrics, and the averages that are printed for them. What they find is worded as a difference, not
as an error.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from statistics import mean, median

HALF_UNIT = 0.0005  # the columns are printed to three places
OUTLIER_FACTOR = 10  # times the column's usual distance from the mean of the neighbours


@dataclass(frozen=True)
class Row:
    """One row of a table, as it was printed.

    Parameters
    ----------
    table : the table's number.
    autoencoder : the model.
    level : z-plane or blur level; None for an average.
    mse_text : the printed MSE, such as "0.002" or "< 0.001".
    rmse, psnr, ssim : the other columns, printed to three places.
    """

    table: str
    autoencoder: str
    level: int | None
    mse_text: str
    rmse: float
    psnr: float
    ssim: float


@dataclass(frozen=True)
class Inconsistency:
    """Cells of a table, or a number of the text, that are not consistent.

    Parameters
    ----------
    rule : the rule that found it.
    table, model : where; the model is empty where it concerns all models.
    level : z-plane or blur F; None where it concerns no single row.
    text : in words.
    """

    rule: str
    table: str
    model: str
    level: int | None
    text: str

    def __str__(self) -> str:
        place = f"Table {self.table}" if self.table else "Text"
        model = f", {self.model}" if self.model else ""
        level = f", level {self.level}" if self.level is not None else ""
        return f"{place}{model}{level}: {self.text}"


def audit_table(table: Sequence[Row], averages: Sequence[Row]) -> list[Inconsistency]:
    """Apply every rule to the rows of a table by level, and to the averages that are printed for
    it.
    """
    return [
        *averages_against_means(averages, table),
        *averages_that_are_a_row(averages, table),
        *repeated_cells(table),
        *outliers(table),
        *error_columns(table),
    ]


def averages_against_means(
    averages: Sequence[Row], table: Sequence[Row]
) -> Iterator[Inconsistency]:
    """Find printed averages that are not the mean of the printed rows, whatever the rounding."""
    for average in averages:
        rows = [row for row in table if row.autoencoder == average.autoencoder]
        for metric in ("rmse", "psnr", "ssim"):
            if not rows:
                continue
            printed, computed = getattr(average, metric), mean(getattr(row, metric) for row in rows)
            if abs(printed - computed) > 2 * HALF_UNIT:
                yield Inconsistency(
                    "average against mean of rows",
                    average.table,
                    average.autoencoder,
                    None,
                    f"{metric.upper()} {printed:.3f} differs from {computed:.3f}, the mean of the"
                    f" {len(rows)} rows of Table {rows[0].table}",
                )


def averages_that_are_a_row(
    averages: Sequence[Row], table: Sequence[Row]
) -> Iterator[Inconsistency]:
    """Find an average that equals one row to the digit in a metric that varies much between
    rows.
    """
    for average in averages:
        rows = [row for row in table if row.autoencoder == average.autoencoder]
        for row in rows:
            if row.psnr == average.psnr:
                yield Inconsistency(
                    "average equals a row",
                    average.table,
                    average.autoencoder,
                    row.level,
                    f"average PSNR {average.psnr:.3f} equals that of level {row.level} in Table"
                    f" {row.table} to the digit",
                )


def repeated_cells(table: Sequence[Row]) -> Iterator[Inconsistency]:
    """Find cells that two models share at one level, where the models otherwise lie apart."""
    levels = sorted({row.level for row in table if row.level is not None})
    models = sorted({row.autoencoder for row in table})
    for first, second in ((a, b) for index, a in enumerate(models) for b in models[index + 1 :]):
        ours = {row.level: row for row in table if row.autoencoder == first}
        theirs = {row.level: row for row in table if row.autoencoder == second}
        for metric in ("psnr", "ssim"):
            gaps = [
                abs(getattr(ours[level], metric) - getattr(theirs[level], metric))
                for level in levels
            ]
            for level, gap in zip(levels, gaps, strict=True):
                if gap == 0 and median(gaps) > 20 * HALF_UNIT:
                    yield Inconsistency(
                        "cell repeated in another model",
                        table[0].table,
                        f"{first} and {second}",
                        level,
                        f"{metric.upper()} {getattr(ours[level], metric):.3f} is the same in both;"
                        f" elsewhere they differ by {median(gaps):.3f}",
                    )


def outliers(table: Sequence[Row]) -> Iterator[Inconsistency]:
    """Find cells that are much farther from the mean of their neighbours than others of their
    column.

    A cell counts where its distance from the mean of its neighbours is more than 10 times the
    column's median distance and more than that of either neighbour (whose own distances it
    disturbs).
    """
    for model in sorted({row.autoencoder for row in table}):
        rows = sorted(
            (row for row in table if row.autoencoder == model), key=lambda row: row.level or 0
        )
        for metric in ("psnr", "ssim"):
            values = [getattr(row, metric) for row in rows]
            distances = [
                abs(values[i] - (values[i - 1] + values[i + 1]) / 2)
                for i in range(1, len(values) - 1)
            ]
            usual = max(median(distances), HALF_UNIT) if distances else 0.0
            padded = [0.0, *distances, 0.0]
            for index, distance in enumerate(distances, start=1):
                if distance > OUTLIER_FACTOR * usual and distance > max(
                    padded[index - 1], padded[index + 1]
                ):
                    expected = (values[index - 1] + values[index + 1]) / 2
                    yield Inconsistency(
                        "outlier against its neighbours",
                        table[0].table,
                        model,
                        rows[index].level,
                        f"{metric.upper()} {values[index]:.3f} where its neighbours suggest"
                        f" {expected:.3f}",
                    )


def error_columns(table: Sequence[Row]) -> Iterator[Inconsistency]:
    """Find an "RMSE" that is not the root of the "MSE" beside it, and say what it is proportional
    to.
    """
    for model in sorted({row.autoencoder for row in table}):
        rows = [row for row in table if row.autoencoder == model]
        apart = [
            row
            for row in rows
            if (bounds := _mse_bounds(row)) and not bounds[0] <= row.rmse**2 <= bounds[1]
        ]
        if not apart:
            continue
        ratios = [row.rmse / 10 ** (-row.psnr / 20) for row in rows]
        typical = median(ratios)
        constant = sum(abs(ratio / typical - 1) < 0.1 for ratio in ratios)
        yield Inconsistency(
            "column that no formula explains",
            table[0].table,
            model,
            None,
            f'"RMSE" differs from the root of "MSE" in {len(apart)} of {len(rows)} rows; it is'
            f" {typical:.2f} times 10^(-PSNR/20), within 10 % in {constant} rows, as a root mean"
            " squared error divided by the norm of the true image would be",
        )


def stated_number_of_images(
    stated: int, *, planes: int, images_a_plane: int, share: float
) -> Inconsistency | None:
    """Find a stated number of test images that the stated split does not give, and the number of
    planes that would.
    """
    expected = planes * images_a_plane * share
    if abs(stated - expected) < planes:
        return None
    fitting = stated / (images_a_plane * share)
    return Inconsistency(
        "stated number of images",
        "",
        "",
        None,
        f"{stated} test images differ from {share:.0%} of {planes} x {images_a_plane} ="
        f" {expected:.0f}; {fitting:.1f} planes would give them",
    )


def _mse_bounds(row: Row) -> tuple[float, float] | None:
    """Return the interval that a printed MSE stands for."""
    if row.mse_text.startswith("<"):
        return 0.0, float(row.mse_text.removeprefix("<"))
    printed = float(row.mse_text)
    return printed - HALF_UNIT, printed + HALF_UNIT
