"""One self-contained report.html of a study, with its tables and figures: ``refocus report STUDY``."""

from __future__ import annotations

import base64
import sys
from collections.abc import Iterator, Sequence
from html import escape
from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure

from analysis.compare import (
    by_level,
    ceilings,
    collapsed,
    differences,
    final_phase,
    paper_by_level,
    paper_comparison,
    ranking,
    what_differs,
)
from analysis.figures import level_curves, load_examples, restorations, save_figure, search_curves
from analysis.load import Study, anything_finished, load_study
from analysis.paper import AVERAGES, BY_LEVEL, FIGURE
from study.errors import StudyError
from study.files import new_file

STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; max-width: 66rem; margin: 2rem auto; padding: 0 1rem; color: #222; }
table { border-collapse: collapse; margin: 0.8rem 0; font-variant-numeric: tabular-nums; }
th, td { padding: 0.25rem 0.7rem; text-align: right; border-bottom: 1px solid #ddd; white-space: nowrap; }
th:first-child, td:first-child, td.text { text-align: left; } td.text { white-space: normal; min-width: 14rem; }
tr.winner td { font-weight: 600; } tr.reference td { color: #555; font-style: italic; }
.wide { overflow-x: auto; } img { max-width: 100%; } .warning { background: #fff3cd; padding: 0.6rem 1rem; }
code { background: #f3f3f3; padding: 0 0.2rem; } figcaption, .note { color: #555; font-size: 0.9rem; } figure { margin: 1rem 0; }
"""
PROSE = ("hyperparameters", "reason")
METRICS_NOTE = (
    "SSIM: 7 x 7 uniform window, sample covariance, data range 1 (scikit-image's default definition). PSNR: data range 1. NRMSE: root "
    "mean squared error over the root mean square of the in-focus image."
)


def write_report(study: Study) -> Path:
    """Write report.html, figures/*.png and tables/*.csv into the study's folder; return the report's path.

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
    parts = [*_head(study), *_outcome(study), *_levels(study), *_restorations(study), *_paper(study), *_search(study), *_origin(study)]
    title = f"Study {study.header['name']}"
    page = (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title><style>{STYLE}</style></head>\n'
        f"<body><h1>{escape(title)}</h1>\n" + "\n".join(parts) + "\n</body></html>\n"
    )
    path = study.folder / "report.html"
    with new_file(path) as partial:
        partial.write_text(page, encoding="utf-8")
    return path


def outcome_text(study: Study) -> str:
    """Return the outcome as lines for a terminal: the table, the differences, and what it can not say."""
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
                **{_level_name(study, level): f"{ssim.loc[label, level]:.3f} / {psnr.loc[label, level]:.2f}" for level in levels},
                "parameters": "" if pd.isna(row.get("parameters")) else f"{row['parameters']:,.0f}",
                "seconds": "" if pd.isna(row.get("training_seconds")) else f"{row['training_seconds']:.0f}",
            }
        )
    lines = [_setting(study), pd.DataFrame(rows).to_string(index=False), *(_difference_text(study))]
    for _, row in table[table["role"].isin(["winner", "candidate"])].iterrows():
        lines.append(f"{row['label']}: {_hyperparameters(study, row['trial'])}")
    lines += _cautions(study)
    if study.header["config"]["scaled_down"]:
        lines.append("Scaled down: the baselines are smaller than the paper's. No claim may rest on these numbers.")
    if not any(row["role"] == "winner" for _, row in table.iterrows()):
        lines += ["", f"Beside the paper's Table {AVERAGES[study.kind]} (each network at its own size):"]
        lines += [_paper_table(study).to_string(index=False), *(f"- {sentence}" for sentence in what_differs(study))]
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
    """Return what a reader of any table must know: sampled training, and models that do not look at their input."""
    cautions = []
    if (patches := study.header["config"]["training"]["patches_per_image"]) is not None:
        cautions.append(f"Training sampled {patches} patch(es) of each image in an epoch where a patch is smaller than its image.")
    for label in collapsed(study):
        cautions.append(
            f"{label} restores the same image whatever it is shown (its scores do not change with the level): its training collapsed."
        )
    return cautions


def _setting(study: Study) -> str:
    phase, images = final_phase(study), study.header["images"]
    side = "test" if phase == "confirm" else "validation"
    return (
        f"{images['title']}: means over {images['fields'][side]} {side} fields of {images['wells'][side]} {images['well_title']}s and all "
        f"defocused levels, on the common grid of {study.header['config']['sizes']['common']} px (SSIM / PSNR)"
    )


def _head(study: Study) -> Iterator[str]:
    config = study.header["config"]
    if config["scaled_down"]:
        yield '<p class="warning">Scaled down to try the program: images and baselines are smaller than the paper’s. No claim may rest on these numbers.</p>'
    for problem in study.problems if study.problems is not None else ["the study has not ended"]:
        yield f'<p class="warning">Not complete: {escape(problem)}</p>'
    for caution in _cautions(study):
        yield f"<p>{escape(caution)}</p>"


def _outcome(study: Study) -> Iterator[str]:
    table = ranking(study)
    shown = pd.DataFrame(
        {
            "configuration": table["label"] + table["role"].map({"winner": " (winner of the search)"}).fillna(""),
            "SSIM": table["ssim"].map("{:.4f}".format),
            "PSNR (dB)": table["psnr"].map("{:.2f}".format),
            "NRMSE": table["nrmse"].map("{:.4f}".format),
            "seeds": table["seeds"].map(lambda seeds: str(seeds) if seeds else ""),
            "parameters": _optional(table, "parameters", "{:,.0f}"),
            "training (s)": _optional(table, "training_seconds", "{:.0f}"),
            "hyperparameters": [_hyperparameters(study, trial) for trial in table["trial"]],
        }
    )
    yield f"<h2>Outcome</h2><p>{escape(_setting(study))}.</p>"
    yield _html_table(shown, classes=list(table["role"]))
    for sentence in _difference_text(study):
        yield f"<p>{escape(sentence)}</p>" if sentence else ""
    perfect = "; ".join(f"{row['label']}: {row['ssim']:.4f} / {row['psnr']:.1f} dB" for _, row in ceilings(study).iterrows())
    yield f'<p class="note">What a model can reach at most on the common grid (SSIM / PSNR): {escape(perfect)}.</p>' if perfect else ""
    yield (
        f'<p class="note">{escape(METRICS_NOTE)} The winner is the searched trial that was best on validation; the test set was opened '
        f"{study.openings} time(s).</p>"
    )


def _difference_text(study: Study) -> list[str]:
    sentences = []
    for found in differences(study):
        interval = "" if pd.isna(found.low) else f", 95 % interval {found.low:+.4f} to {found.high:+.4f}, p {found.p:.3g} (Holm)"
        sentences.append(f"{found.candidate} - {found.baseline}: SSIM {found.mean:+.4f}{interval}: {found.verdict}.")
    return sentences


def _levels(study: Study) -> Iterator[str]:
    images = study.header["images"]
    yield f"<h2>By {escape(images['level_title'])}</h2>"
    for metric in ("ssim", "psnr"):
        table = by_level(study, metric)
        figure = level_curves(table, metric=metric, level_axis=images["level_axis"], in_focus=images["in_focus_level"])
        caption = f"{metric.upper()} by level; dashed: the paper’s curve ({FIGURE[study.kind]}), scored at each model’s own size on its own images."
        yield _figure(study, figure, f"{metric}-by-level", caption)
    for metric, text in (("ssim", "{:.3f}"), ("psnr", "{:.2f}")):
        table = by_level(study, metric)
        shown = table.map(lambda value, t=text: "" if pd.isna(value) else t.format(value)).reset_index()
        yield f"<details><summary>{metric.upper()} at every level</summary>{_html_table(shown.rename(columns={'label': metric.upper()}))}</details>"


def _restorations(study: Study) -> Iterator[str]:
    phase, table = final_phase(study), ranking(study)
    chosen = []
    for _, row in table[table["role"].isin(["winner", "baseline"])].iterrows():
        runs = study.trials[(study.trials["phase"] == phase) & (study.trials["trial"] == row["trial"]) & (study.trials["replicate"] == 0)]
        examples = load_examples(Path(runs["folder"].iloc[0])) if len(runs) else None
        if examples is not None:
            chosen.append((f"{row['label']}", examples))
    if chosen:
        largest = max(chosen, key=lambda pair: pair[1]["in_focus"].shape[0])
        chosen.sort(key=lambda pair: pair[0] != largest[0])
        figure = restorations(chosen, level_title=study.header["images"]["level_title"])
        caption = f"Field {largest[1]['field']}: defocused, restored by each (at its own size), in focus. First seed."
        yield "<h2>Restorations</h2>" + _figure(study, figure, "restorations", caption)


def _paper(study: Study) -> Iterator[str]:
    yield f"<h2>Beside the paper’s Table {AVERAGES[study.kind]}</h2>"
    yield "<p>Each network at its own size, as the paper scores it. The paper’s column “RMSE” behaves as NRMSE and stands in that column.</p>"
    yield _html_table(_paper_table(study))
    for family in ("whole", "split"):
        table = paper_by_level(study, family)
        shown = pd.DataFrame({study.header["images"]["level_title"]: table["level"], "": table["source"]}).join(_metric_columns(table))
        name = f"{family.capitalize()} image at every level, beside Table {BY_LEVEL[study.kind]}"
        yield f"<details><summary>{name}</summary>{_html_table(shown)}</details>"
    yield (
        "<p>What differs from the paper’s experiment:</p><ul>"
        + "".join(f"<li>{escape(sentence)}</li>" for sentence in what_differs(study))
        + "</ul>"
    )


def _search(study: Study) -> Iterator[str]:
    trials = study.trials[study.trials["phase"] == "search"]
    figure = search_curves(study)
    if trials.empty or figure is None:
        return
    yield "<h2>Search</h2>" + _figure(
        study, figure, "search", "Score after each epoch, on a sample of validation images that is the same for all."
    )
    shown = pd.DataFrame(
        {
            "trial": trials["label"],
            "status": trials["status"],
            "epochs": trials["epoch"],
            "SSIM (validation)": _optional(trials, "ssim", "{:.4f}"),
            "parameters": _optional(trials, "parameters", "{:,.0f}"),
            "training (s)": _optional(trials, "training_seconds", "{:.0f}"),
            "hyperparameters": trials["hyperparameters"].map(_point_text),
            "reason": trials["reason"],
        }
    )
    yield _html_table(shown)


def _origin(study: Study) -> Iterator[str]:
    environment, store, images = study.header["environment"], study.header["store"], study.header["images"]
    packages = ", ".join(f"{name} {version}" for name, version in environment["packages"].items())
    made = f"simulated: {images['simulated']}" if images["simulated"] else "as published"
    yield (
        "<h2>Where the numbers come from</h2><ul>"
        f"<li>Images: {escape(images['title'])}, {escape(str(store['source']))} ({escape(made)}); store fingerprint <code>{store['fingerprint']}</code>.</li>"
        f"<li>Fields: {images['fields']}; {escape(images['well_title'])}s: {images['wells']}.</li>"
        f"<li>Ledger: <code>{escape(str(study.folder / 'ledger.jsonl'))}</code>, study <code>{study.header['uid']}</code>.</li>"
        f"<li>Program: {escape(str(environment['git']))}; Python {environment['python']}; {escape(packages)}; backend {environment['backend']}.</li>"
        f"<li>Command: <code>{escape(' '.join(environment['command']))}</code></li></ul>"
    )


def _paper_table(study: Study) -> pd.DataFrame:
    table = paper_comparison(study)
    return pd.DataFrame({"network": table["network"] + " image", "": table["source"]}).join(_metric_columns(table))


def _metric_columns(table: pd.DataFrame) -> pd.DataFrame:
    """Return metrics as texts with the paper's three places; its own MSE stays as it was printed."""
    shown = pd.DataFrame({"MSE": [value if isinstance(value, str) else f"{value:.4f}" for value in table["mse"]]}, index=table.index)
    columns = {"rmse": "RMSE", "nrmse": "NRMSE", "psnr": "PSNR (dB)", "ssim": "SSIM", "ssim_range2": "SSIM (range 2)"}
    for name, title in columns.items():
        shown[title] = _optional(table, name, "{:.3f}")
    return shown


def _write_tables(study: Study) -> None:
    tables = {"outcome": ranking(study), "levels": study.levels, "fields": study.fields, "trials": study.trials, "epochs": study.epochs}
    for name, table in tables.items():
        with new_file(study.folder / "tables" / f"{name}.csv") as path:
            table.to_csv(path, index=False)


def _level_name(study: Study, level: int) -> str:
    return f"{'z' if study.kind == 'bbbc006' else 'F'} {level}"


def _hyperparameters(study: Study, trial: int) -> str:
    runs = study.trials[study.trials["trial"] == trial]
    return _point_text(runs["hyperparameters"].iloc[0]) if len(runs) else ""


def _point_text(point: dict[str, object]) -> str:
    return ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in point.items())


def _optional(table: pd.DataFrame, column: str, text: str) -> pd.Series:
    if column not in table:
        return pd.Series("", index=table.index)
    return table[column].map(lambda value: "" if pd.isna(value) else text.format(value))


def _html_table(table: pd.DataFrame, *, classes: Sequence[str] = ()) -> str:
    head = "".join(f"<th>{escape(str(name))}</th>" for name in table.columns)
    rows = []
    for number, (_, row) in enumerate(table.iterrows()):
        kind = f' class="{classes[number]}"' if classes else ""
        cells = ((str(value), ' class="text"' if name in PROSE else "") for name, value in row.items())
        rows.append(f"<tr{kind}>" + "".join(f"<td{style}>{escape(value)}</td>" for value, style in cells) + "</tr>")
    return f'<div class="wide"><table><thead><tr>{head}</tr></thead><tbody>{"".join(rows)}</tbody></table></div>'


def _figure(study: Study, figure: Figure, name: str, caption: str) -> str:
    path = save_figure(figure, study.folder / "figures" / f"{name}.png")
    data = base64.b64encode(path.read_bytes()).decode()
    return f'<figure><img alt="{escape(caption)}" src="data:image/png;base64,{data}"><figcaption>{escape(caption)}</figcaption></figure>'


if __name__ == "__main__":
    sys.exit(main())
