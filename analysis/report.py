"""One self-contained report.html of a study, with its tables and figures: ``refocus report
STUDY``.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import pandas as pd

from analysis.classical_parameters import parameter_fold
from analysis.differences import against_each
from analysis.endpoint import primary_endpoint
from analysis.final_scores import final_images, final_references
from analysis.load import Study, load_study
from analysis.outcome_sentences import cautions, setting, verdict_sentences
from analysis.outcome_table import (
    Standing,
    curve_table,
    curves_by_level,
    front_table,
    measured_scale_invariant,
    ranking,
    shown_costs,
)
from analysis.page import (
    Block,
    Bullets,
    Fold,
    Heading,
    Navigation,
    Paragraph,
    Table,
    outcome_source,
    render_page,
    source,
)
from analysis.paper_deviations import deviations
from analysis.paper_figures import curve_figures
from analysis.paper_report import paper_sections, result_tables
from analysis.search_report import front_text, search_sections, validation_test_gap_text
from analysis.table_texts import average_text, column_texts, hyperparameter_text
from study.errors import StudyError
from study.files import new_file
from study.record.identities import ReferenceRole, TrialId
from study.record.ledger import FILE_NAME

METRICS_NOTE = (
    "SSIM: 7 x 7 uniform window, sample covariance, data range 1 (scikit-image's default"
    " definition). PSNR: data range 1. NRMSE: root mean squared error over the root mean square of"
    " the in-focus image. SI-SSIM, SI-PSNR: scale-invariant, after the gain and offset of each"
    " restored image that come closest to its target in least squares."
)
WINNER = " (winner of the search)"
SECTIONS = {
    "outcome": "Outcome",
    "levels": "By level",
    "paper": "Beside the paper",
    "search": "Search",
    "origin": "Origin",
}


def write_report(study: Study) -> Path:
    """Write report.html, figures/*.png and tables/*.csv into the study's folder; return the
    report's path.

    The same ledger gives the same bytes.

    Parameters
    ----------
    study : Study
        A study that has at least one trial that finished.

    Raises
    ------
    StudyError
        If no trial of the study has finished.
    """
    if not study.anything_finished:
        raise StudyError(f"no trial of {study.folder} has finished: there is nothing to report yet")
    _write_tables(study)
    blocks: list[Block] = [*_notices(study), Navigation(SECTIONS)]
    for section in (_outcome, _levels, paper_sections, search_sections, _origin):
        blocks += section(study)
    path = study.folder / "report.html"
    with new_file(path) as partial:
        page = render_page(f"Study {study.history.study.name}", blocks)
        partial.write_text(page, encoding="utf-8")
    return path


def outcome_text(study: Study) -> str:
    """Return the outcome as lines for a terminal: the table, the differences, and what it cannot
    say.
    """
    table = ranking(study)
    lines = [setting(study), _terminal_rows(study, table).to_string(index=False)]
    lines += verdict_sentences(study)
    for _, row in table[table["role"].isin([Standing.WINNER, Standing.CANDIDATE])].iterrows():
        lines.append(f"{row['label']}: {_hyperparameters(study, row['trial'])}")
    lines += [text for text in (front_text(study), validation_test_gap_text(study)) if text]
    lines += cautions(study)
    if study.config.scaled_down:
        lines.append(
            "Scaled down: the baselines are smaller than the paper's. No claim may rest on these"
            " numbers."
        )
    if not (table["role"] == Standing.WINNER).any():
        lines += ["", average_text(study), *(f"- {sentence}" for sentence in deviations(study))]
    return "\n".join(lines)


def _terminal_rows(study: Study, table: pd.DataFrame) -> pd.DataFrame:
    """Return the outcome's table for a terminal, with some levels of each configuration."""
    ssim, psnr = (curve_table(curves_by_level(study, metric)) for metric in ("ssim", "psnr"))
    endpoint, rows = _endpoint_columns(study, table.set_index("label", drop=False)), []
    for _, row in table.iterrows():
        label = row["label"]
        cells = {"": f"{label}{WINNER if row['role'] == Standing.WINNER else ''}"}
        cells |= {title: texts[label] for title, texts in endpoint.items()}
        cells |= {"SSIM": f"{row['ssim']:.4f}", "PSNR dB": f"{row['psnr']:.2f}"}
        for metric, (title, text) in measured_scale_invariant(table).items():
            cells[title] = text.format(row[metric])
        for level in study.dataset.shown_levels:
            scores = f"{ssim.loc[label, level]:.3f} / {psnr.loc[label, level]:.2f}"
            cells[_level_name(study, level)] = scores
        for cost, (title, text) in shown_costs(table).items():
            cells[title] = "" if pd.isna(row.get(cost)) else text.format(row[cost])
        rows.append(cells)
    return pd.DataFrame(rows)


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the report of the study's folder that is named on the command line."""
    arguments = sys.argv[1:] if arguments is None else arguments
    if len(arguments) != 1:
        print("usage: python -m analysis.report STUDY_FOLDER", file=sys.stderr)
        return 2
    try:
        study = load_study(Path(arguments[0]))
        path = write_report(study)
    except StudyError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(f"{outcome_text(study)}\n\nreport: {path}")
    return 0


def _notices(study: Study) -> Iterator[Block]:
    if study.config.scaled_down:
        yield Paragraph(
            "Scaled down to try the program: images and baselines are smaller than the paper’s. No"
            " claim may rest on these numbers.",
            "warning",
        )
    history = study.history
    for problem in history.ends[-1].problems if history.ended else ["the study has not ended"]:
        yield Paragraph(f"Not complete: {problem}", "warning")
    yield from map(Paragraph, cautions(study))


def _outcome(study: Study) -> Iterator[Block]:
    table = ranking(study)
    yield Heading("Outcome", "outcome")
    yield Paragraph(f"{setting(study)}.")
    yield Table(_outcome_rows(study, table), row_styles=list(table["role"]))
    yield outcome_source(study)
    configurations = table[table["role"] != Standing.REFERENCE]
    hyperparameters = pd.DataFrame(
        {
            "configuration": configurations["label"],
            "hyperparameters": [_hyperparameters(study, one) for one in configurations["trial"]],
        }
    )
    yield Fold("Hyperparameters", [Table(hyperparameters)])
    yield from map(Paragraph, verdict_sentences(study))
    if text := front_text(study):
        yield Paragraph(text)
    yield from _upper_bounds(study)
    yield from parameter_fold(study)
    yield Paragraph(
        f"{METRICS_NOTE} The winner is the searched trial that was best on validation; the test set"
        f" was opened {len(study.history.openings)} time(s).",
        "note",
    )


def _endpoint_columns(study: Study, table: pd.DataFrame) -> dict[str, pd.Series]:
    """Return the columns of the primary endpoint as texts: its mean, unless that is the SSIM that
    stands there anyway, its range over seeds, and how many of them collapsed.
    """
    endpoint = primary_endpoint(study)
    number = f"{{:.{endpoint.digits}f}}"
    means = {
        f"{endpoint.title}{endpoint.unit} (primary endpoint)": table["endpoint"].map(number.format)
    }
    ranges = [
        "" if pd.isna(low) else f"{number.format(low)} to {number.format(high)}"
        for low, high in zip(table["endpoint_low"], table["endpoint_high"], strict=True)
    ]
    collapses = [
        f"{row['collapsed']} of {row['seeds']}" if row["collapsed"] else ""
        for _, row in table.iterrows()
    ]
    texts = {"range over seeds": pd.Series(ranges, table.index)}
    if any(collapses):
        texts["collapsed seeds"] = pd.Series(collapses, table.index)
    return texts if endpoint.is_plain_ssim else means | texts


def _outcome_rows(study: Study, table: pd.DataFrame) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "configuration": table["label"]
            + table["role"].map({Standing.WINNER: WINNER}).fillna(""),
            **_endpoint_columns(study, table),
            "SSIM": table["ssim"].map("{:.4f}".format),
            "PSNR (dB)": table["psnr"].map("{:.2f}".format),
            "NRMSE": table["nrmse"].map("{:.4f}".format),
            **{
                title: column_texts(table, metric, text)
                for metric, (title, text) in measured_scale_invariant(table).items()
            },
            "seeds": table["seeds"].map(lambda seeds: str(seeds) if seeds else ""),
            **{
                title: column_texts(table, cost, text)
                for cost, (title, text) in shown_costs(table).items()
            },
        }
    )


def _upper_bounds(study: Study) -> Iterator[Block]:
    bounds = final_references(study, ReferenceRole.UPPER_BOUND, ReferenceRole.MEAN_SCALE)
    if not bounds:
        return
    scores = [study.references[bound] for bound in bounds]
    yield Paragraph(
        "The upper bound at each image size: what a perfect restoration at that size scores at the"
        " evaluation resolution. Right shape, mean scale: what it scores if it must guess, by the"
        " mean of the training images, the range of intensities that its target is normalised by."
    )
    yield Table(
        pd.DataFrame(
            {
                "": [bound.label for bound in bounds],
                "SSIM": [f"{score.summary['ssim']:.4f}" for score in scores],
                "PSNR (dB)": [f"{score.summary['psnr']:.1f}" for score in scores],
            }
        )
    )
    yield source(study, ", ".join(str(score.row) for score in scores))


def _levels(study: Study) -> Iterator[Block]:
    yield Heading(f"By {study.dataset.level_title}", "levels")
    yield from curve_figures(study)
    yield from _winner_by_level(study)
    texts = {"ssim": "{:.3f}", "psnr": "{:.2f}"}
    texts |= {name: text for name, (_, text) in measured_scale_invariant(study.images).items()}
    for metric, text in texts.items():
        title = metric.upper().replace("_", "-")
        table = curve_table(curves_by_level(study, metric))
        rows = pd.DataFrame({level: column_texts(table, level, text) for level in table.columns})
        rows.insert(0, title, table.index)
        yield Fold(f"{title} at every level", [Table(rows)])


def _winner_by_level(study: Study) -> Iterator[Block]:
    """Yield the winner's difference from every other at every level, with a sign where its
    interval leaves out 0.
    """
    winner = study.history.winner()
    if winner is None or winner.label not in set(final_images(study)["label"]):
        return
    label = winner.label
    yield Heading(f"{label} less every other, by {study.dataset.level_title}")
    yield Paragraph(
        "Paired by well or scene, on the images that both were scored on. + and − where the 95 %"
        " interval leaves out 0 (not corrected for the number of levels), o where it does not.",
        "note",
    )
    for metric, digits in (("ssim", 3), ("psnr", 2)):
        table = against_each(study, label, metric=metric)
        rows = []
        for other, cells in table.groupby("other", sort=False):
            row = {metric.upper(): other}
            for _, cell in cells.iterrows():
                level = cell["level"]
                title = "mean" if pd.isna(level) else _level_name(study, int(level))
                row[title] = f"{cell['mean']:+.{digits}f} {_sign(cell)}"
            rows.append(row)
        yield Table(pd.DataFrame(rows))
    yield outcome_source(study)


def _sign(cell: pd.Series) -> str:
    if pd.isna(cell["low"]):
        return ""
    return "+" if cell["low"] > 0 else "−" if cell["high"] < 0 else "o"


def _origin(study: Study) -> Iterator[Block]:
    yield Heading("Where the numbers come from", "origin")
    facts = [*_image_facts(study)]
    if study.transfer is not None:
        facts += _image_facts(study.transfer)
    history, environment = study.history, study.history.study.environment
    packages = ", ".join(f"{name} {version}" for name, version in environment.packages.items())
    facts += [
        f"Ledger: {study.folder / FILE_NAME}, study {history.study.uid}. Its rows are counted"
        " from 1.",
        f"Program: {environment.git}; Python {environment.python}; {packages}; backend"
        f" {environment.backend}.",
        f"Command: {' '.join(environment.command)}",
    ]
    for later in history.resumptions:
        command, commit = " ".join(later.environment.command), later.environment.git
        facts.append(f"Resumed by: {command} (program: {commit})")
    if history.repeats:
        facts.append(
            f"{len(history.repeats)} epochs or scores came out with other numbers when a trial was"
            " resumed: the first stand, the others are in the ledger as `repeat`."
        )
    yield Bullets(facts)


def _image_facts(study: Study) -> list[str]:
    store, images = study.store, study.dataset
    origin = f"simulated: {images.simulated}" if images.simulated else "as published"
    sides = ", ".join(
        f"{side} {count} fields of {images.wells[side]} {images.well_title}s"
        for side, count in images.fields.items()
        if count
    )
    return [
        f"Images: {images.title}, {store.source} ({origin}); store fingerprint"
        f" {store.fingerprint}.",
        f"Fields of {images.title}: {sides}.",
    ]


def _write_tables(study: Study) -> None:
    tables = {
        "outcome": ranking(study),
        "images": study.images,
        "trials": study.trials,
        "epochs": study.epochs,
        **result_tables(study),
    }
    if costs := study.config.search.objectives[1:]:
        tables["front"] = front_table(study, costs)
    for name, table in tables.items():
        with new_file(study.folder / "tables" / f"{name}.csv") as path:
            table.to_csv(path, index=False)


def _level_name(study: Study, level: int) -> str:
    return f"{study.dataset.level_symbol} {level}"


def _hyperparameters(study: Study, trial: TrialId) -> str:
    return hyperparameter_text(next(study.history.runs_of(trial)).hyperparameters)


if __name__ == "__main__":
    sys.exit(main())
