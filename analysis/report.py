"""One self-contained report.html of a study, with its tables and figures: ``refocus report
STUDY``.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import pandas as pd

from analysis import html
from analysis.compare import (
    COSTS,
    against_each,
    by_level,
    collapsed,
    differences,
    final_images,
    final_phase,
    front,
    ranking,
    upper_bounds,
    what_differs,
    winner,
)
from analysis.load import Study, anything_finished, load_study
from analysis.paper_report import average_text, curve_figures, paper_sections, result_tables
from analysis.search_report import front_text, search_sections, validation_test_gap_text
from study.errors import StudyError
from study.files import new_file

METRICS_NOTE = (
    "SSIM: 7 x 7 uniform window, sample covariance, data range 1 (scikit-image's default"
    " definition). PSNR: data range 1. NRMSE: root mean squared error over the root mean square of"
    " the in-focus image."
)
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
    if not anything_finished(study):
        raise StudyError(f"no trial of {study.folder} has finished: there is nothing to report yet")
    _write_tables(study)
    links = "".join(f'<a href="#{anchor}">{title}</a>' for anchor, title in SECTIONS.items())
    parts = [*_head(study), f"<nav>{links}</nav>", *_outcome(study), *_levels(study)]
    parts += [*paper_sections(study), *search_sections(study), *_origin(study)]
    path = study.folder / "report.html"
    with new_file(path) as partial:
        partial.write_text(html.page(f"Study {study.header['name']}", parts), encoding="utf-8")
    return path


def outcome_text(study: Study) -> str:
    """Return the outcome as lines for a terminal: the table, the differences, and what it cannot
    say.
    """
    table = ranking(study)
    levels = study.header["images"]["shown_levels"]
    ssim, psnr = by_level(study, "ssim"), by_level(study, "psnr")
    rows = []
    for _, row in table.iterrows():
        label = row["label"]
        rows.append(
            {
                "": f"{label}{' (winner of the search)' if row['role'] == 'winner' else ''}",
                "SSIM": f"{row['ssim']:.4f}",
                "PSNR dB": f"{row['psnr']:.2f}",
                **{
                    _level_name(
                        study, level
                    ): f"{ssim.loc[label, level]:.3f} / {psnr.loc[label, level]:.2f}"
                    for level in levels
                },
                **{
                    title: "" if pd.isna(row.get(cost)) else text.format(row[cost])
                    for cost, (title, text) in COSTS.items()
                },
            }
        )
    lines = [_setting(study), pd.DataFrame(rows).to_string(index=False), *(_difference_text(study))]
    for _, row in table[table["role"].isin(["winner", "candidate"])].iterrows():
        lines.append(f"{row['label']}: {_hyperparameters(study, row['trial'])}")
    lines += [text for text in (front_text(study), validation_test_gap_text(study)) if text]
    lines += _cautions(study)
    if study.header["config"]["scaled_down"]:
        lines.append(
            "Scaled down: the baselines are smaller than the paper's. No claim may rest on these"
            " numbers."
        )
    if not any(row["role"] == "winner" for _, row in table.iterrows()):
        lines += ["", average_text(study), *(f"- {sentence}" for sentence in what_differs(study))]
    return "\n".join(lines)


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


def _cautions(study: Study) -> list[str]:
    """Return what a reader of any table must know: sampled training, and models that do not look at
    their input.
    """
    cautions = []
    if (patches := study.header["config"]["training"]["patches_per_image"]) is not None:
        cautions.append(
            f"Training sampled {patches} patch(es) of each image in an epoch where a patch is"
            " smaller than its image."
        )
    for label in collapsed(study):
        cautions.append(
            f"{label} restores the same image whatever it is shown (its scores do not change with"
            " the level): its training collapsed."
        )
    return cautions


def _setting(study: Study) -> str:
    phase, images = final_phase(study), study.header["images"]
    side = "test" if phase == "confirm" else "validation"
    scored = final_images(study)
    scored = scored[scored["phase"] == phase]
    size = study.header["config"]["evaluation"]["resolution"]
    return (
        f"{images['title']}: means over {scored['field'].nunique()} {side} fields of"
        f" {scored['well'].nunique()} {images['well_title']}s and all defocused levels, at the"
        f" evaluation resolution of {size} px (SSIM / PSNR)"
    )


def _head(study: Study) -> Iterator[str]:
    if study.header["config"]["scaled_down"]:
        yield html.paragraph(
            "Scaled down to try the program: images and baselines are smaller than the paper’s. No"
            " claim may rest on these numbers.",
            "warning",
        )
    for problem in study.problems if study.problems is not None else ["the study has not ended"]:
        yield html.paragraph(f"Not complete: {problem}", "warning")
    yield from map(html.paragraph, _cautions(study))


def _outcome(study: Study) -> Iterator[str]:
    table = ranking(study)
    shown = pd.DataFrame(
        {
            "configuration": (
                table["label"] + table["role"].map({"winner": " (winner of the search)"}).fillna("")
            ),
            "SSIM": table["ssim"].map("{:.4f}".format),
            "PSNR (dB)": table["psnr"].map("{:.2f}".format),
            "NRMSE": table["nrmse"].map("{:.4f}".format),
            "seeds": table["seeds"].map(lambda seeds: str(seeds) if seeds else ""),
            **{title: _optional(table, cost, text) for cost, (title, text) in COSTS.items()},
        }
    )
    points = pd.DataFrame(
        {
            "configuration": table["label"],
            "hyperparameters": [_hyperparameters(study, trial) for trial in table["trial"]],
        }
    )
    yield html.heading("Outcome", "outcome") + html.paragraph(f"{_setting(study)}.")
    yield html.table(shown, classes=list(table["role"])) + html.source(study)
    yield html.fold("Hyperparameters", html.table(points[points["hyperparameters"] != ""]))
    yield from map(html.paragraph, _difference_text(study))
    if text := front_text(study):
        yield html.paragraph(text)
    perfect = upper_bounds(study)
    if len(perfect):
        yield html.paragraph(
            "The upper bound of each image size: what a perfect restoration of that size scores on"
            " the evaluation resolution."
        )
        yield html.table(
            pd.DataFrame(
                {
                    "": perfect["label"],
                    "SSIM": perfect["ssim"].map("{:.4f}".format),
                    "PSNR (dB)": perfect["psnr"].map("{:.1f}".format),
                }
            )
        )
        yield html.source_rows(study, ", ".join(map(str, perfect["row"])))
    yield html.paragraph(
        f"{METRICS_NOTE} The winner is the searched trial that was best on validation; the test set"
        f" was opened {study.openings} time(s).",
        "note",
    )


def _difference_text(study: Study) -> list[str]:
    sentences = []
    for found in differences(study):
        interval = (
            ""
            if pd.isna(found.low)
            else f", 95 % interval {found.low:+.4f} to {found.high:+.4f}, p {found.p:.3g} (Holm)"
        )
        sentences.append(
            f"{found.candidate} - {found.baseline}: SSIM {found.mean:+.4f}{interval}:"
            f" {found.verdict}."
        )
    return sentences


def _levels(study: Study) -> Iterator[str]:
    yield html.heading(f"By {study.header['images']['level_title']}", "levels")
    yield from curve_figures(study)
    yield from _winner_by_level(study)
    for metric, text in (("ssim", "{:.3f}"), ("psnr", "{:.2f}")):
        shown = (
            by_level(study, metric)
            .map(lambda value, t=text: "" if pd.isna(value) else t.format(value))
            .reset_index()
        )
        yield html.fold(
            f"{metric.upper()} at every level",
            html.table(shown.rename(columns={"label": metric.upper()})),
        )


def _winner_by_level(study: Study) -> Iterator[str]:
    """Yield the winner's difference from every other at every level, marked where its interval
    leaves out 0.
    """
    best = winner(study)
    if best is None:
        return
    label = str(study.trials[study.trials["trial"] == best]["label"].iloc[0])
    if label not in set(final_images(study)["label"]):
        return
    title = study.header["images"]["level_title"]
    yield f"<h3>{label} less every other, by {title}</h3>" + html.paragraph(
        "Paired by well or scene; + and − where the 95 % interval leaves out 0 (not corrected for"
        " the number of levels). On the images that both were scored on.",
        "note",
    )
    for metric, digits in (("ssim", 3), ("psnr", 2)):
        table = against_each(study, label, metric=metric)
        rows = []
        for other in table["other"].unique():
            row = {metric.upper(): other}
            for _, cell in table[table["other"] == other].iterrows():
                mark = (
                    ""
                    if pd.isna(cell["low"])
                    else "+"
                    if cell["low"] > 0
                    else "−"
                    if cell["high"] < 0
                    else "o"
                )
                row[
                    "mean" if pd.isna(cell["level"]) else _level_name(study, int(cell["level"]))
                ] = f"{cell['mean']:+.{digits}f} {mark}"
            rows.append(row)
        yield html.table(pd.DataFrame(rows))
    yield html.source(study)


def _origin(study: Study) -> Iterator[str]:
    environment = study.header["environment"]
    packages = ", ".join(f"{name} {version}" for name, version in environment["packages"].items())
    yield html.heading("Where the numbers come from", "origin")
    facts = []
    for part in (study, study.transfer):
        if part is not None:
            store, images = part.header["store"], part.header["images"]
            made = f"simulated: {images['simulated']}" if images["simulated"] else "as published"
            facts.append(
                f"Images: {images['title']}, {store['source']} ({made}); store fingerprint"
                f" {store['fingerprint']}."
            )
            sides = ", ".join(
                f"{side} {count} fields of {images['wells'][side]} {images['well_title']}s"
                for side, count in images["fields"].items()
                if count
            )
            facts.append(f"Fields of {images['title']}: {sides}.")
    facts.append(
        f"Ledger: {study.folder / 'ledger.jsonl'}, study {study.header['uid']}. Its rows are"
        " counted from 1."
    )
    facts.append(
        f"Program: {environment['git']}; Python {environment['python']}; {packages}; backend"
        f" {environment['backend']}."
    )
    facts.append(f"Command: {' '.join(environment['command'])}")
    for later in study.header.get("resumed", []):
        facts.append(f"Resumed by: {' '.join(later['command'])} (program: {later['git']})")
    if study.header["repeats"]:
        facts.append(
            f"{study.header['repeats']} epochs or scores came out with other numbers when a trial"
            " was taken up again: the first stand, the others are in the ledger as `repeat`."
        )
    yield html.bullets(facts)


def _write_tables(study: Study) -> None:
    tables = {
        "outcome": ranking(study),
        "images": study.images,
        "trials": study.trials,
        "epochs": study.epochs,
        **result_tables(study),
    }
    if costs := study.header["config"]["search"]["objectives"][1:]:
        tables["front"] = front(study, costs=costs)
    for name, table in tables.items():
        with new_file(study.folder / "tables" / f"{name}.csv") as path:
            table.to_csv(path, index=False)


def _level_name(study: Study, level: int) -> str:
    return f"{'z' if study.kind == 'bbbc006' else 'F'} {level}"


def _hyperparameters(study: Study, trial: int) -> str:
    runs = study.trials[study.trials["trial"] == trial]
    return _point_text(runs["hyperparameters"].iloc[0]) if len(runs) else ""


def _point_text(hyperparameters: dict[str, object]) -> str:
    return ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in hyperparameters.items())


def _optional(table: pd.DataFrame, column: str, text: str) -> pd.Series:
    if column not in table:
        return pd.Series("", index=table.index)
    return table[column].map(lambda value: "" if pd.isna(value) else text.format(value))


if __name__ == "__main__":
    sys.exit(main())
