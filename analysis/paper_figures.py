"""The paper's figures made again: curves by level, and restorations."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pandas as pd

from analysis import interactive
from analysis.figures import Example, level_curves, load_examples, restorations
from analysis.load import Study
from analysis.outcome_table import by_level, final_phase, ranking
from analysis.page import Block, Heading, outcome_source, picture, source
from analysis.paper_tables import FIGURE

EXAMPLES, TRANSFER_EXAMPLES = "examples.npz", "transfer_examples.npz"


def curve_figures(study: Study, *, prefix: str = "") -> Iterator[Block]:
    """Yield the curves by level: all at the evaluation resolution, and the paper's figure made
    again, each model at its own size.
    """
    images = study.header["images"]
    axes = {"level_axis": images["level_axis"], "in_focus": images["in_focus_level"]}
    for own in (False, True):
        for metric in ("ssim", "psnr"):
            table = by_level(study, metric, own=own)
            caption = (
                f"{metric.upper()} by level, at the evaluation resolution, where models can be"
                " compared with each other."
            )
            if own:
                caption = (
                    f"{FIGURE[study.kind]} of the paper made again: {metric.upper()} by level, each"
                    " at its own size, as the paper’s. “paper’s …”: the paper’s networks, trained"
                    " here; grey, “paper: …”: the printed curves."
                )
            else:
                table = table[~table.index.str.startswith("paper: ")]
            name = f"{prefix}{metric}-by-level{'-own-size' if own else ''}"
            yield picture(
                study,
                level_curves(table, metric=metric, **axes),
                name,
                caption,
                interactive=interactive.curves(table, name=name, metric=metric, **axes),
            )
    yield outcome_source(study)


def restoration_figures(
    study: Study, *, figures: tuple[str, ...], file: str = EXAMPLES
) -> Iterator[Block]:
    """Yield example restorations at every level, and as in the figures of the paper that are named;
    nothing if no network left any.
    """
    examples = _examples(study, file)
    if not examples:
        return
    title, first = study.header["images"]["level_title"], examples[0][1]
    name = "restorations" if file == EXAMPLES else "transfer-restorations"
    yield Heading("Restorations")
    yield picture(
        study,
        restorations(examples, level_title=title),
        name,
        f"Field {first['field']}: defocused (the unrestored input), with its best affine fit,"
        " restored by each network (first seed), in focus.",
        interactive=interactive.restorations(examples, name=name, level_title=title),
    )
    levels = [int(level) for level in first["levels"]]
    defocused = [level for level in levels if level != study.in_focus]
    shown = {
        "4": ([defocused[len(defocused) // 3]], "one field"),
        "5": ([levels[0], study.in_focus, levels[-1]], "the same field"),
        "6": ([levels[-1]], "the last plane"),
        "9": ([defocused[len(defocused) // 2]], "a synthetic image"),
    }
    for number in figures:
        chosen, what = shown[number]
        caption = (
            f"Figure {number} of the paper made again: {what} at {title}"
            f" {', '.join(map(str, chosen))}."
        )
        still = restorations(examples, level_title=title, levels=chosen)
        yield picture(study, still, f"figure-{number}", caption)
    runs = _first_runs(study)
    rows = ", ".join(
        f"{run['row']} ({run['label']}: {Path(run['folder']).name}/{file})"
        for _, run in runs.iterrows()
    )
    yield source(study, f"{rows} in the folder trials")


def _examples(study: Study, file: str) -> list[Example]:
    """Return the examples that the outcome's networks left: baselines first, then the winner."""
    table, runs, examples = ranking(study), _first_runs(study), []
    for role in ("baseline", "winner"):
        for trial in sorted(table[table["role"] == role]["trial"]):
            for _, run in runs[runs["trial"] == trial].iterrows():
                arrays = load_examples(Path(run["folder"]), file)
                if arrays is not None:
                    examples.append((str(run["label"]), arrays))
    return examples


def _first_runs(study: Study) -> pd.DataFrame:
    """Return the first run of each configuration of the final phase."""
    trials = study.trials
    return trials[(trials["phase"] == final_phase(study)) & (trials["replicate"] == 0)]
