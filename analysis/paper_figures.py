"""The paper's figures made again: curves by level, and restorations."""

from __future__ import annotations

from collections.abc import Iterator

from analysis import interactive
from analysis.endpoint import median_replicate
from analysis.figures import Example, level_curves, load_examples, restorations
from analysis.load import Study
from analysis.outcome_table import Curve, curves_by_level
from analysis.page import Block, Heading, outcome_source, picture, source
from analysis.paper_tables import paper_facts
from study.record.history import Run
from study.record.identities import Reference, ReferenceRole, Role

EXAMPLES, TRANSFER_EXAMPLES = "examples.npz", "transfer_examples.npz"


def curve_figures(study: Study, *, prefix: str = "") -> Iterator[Block]:
    """Yield the curves by level: all at the evaluation resolution, and the paper's figure made
    again, each model at its own size.
    """
    facts, level_axis = paper_facts(study.kind), study.dataset.level_axis
    for own in (False, True):
        for metric in ("ssim", "psnr"):
            curves = curves_by_level(study, metric, own=own)
            caption = (
                f"{metric.upper()} by level, at the evaluation resolution, where models can be"
                " compared with each other."
            )
            if own:
                again = f"{facts.curve_figure} of the paper made again: " if facts else ""
                caption = (
                    f"{again}{metric.upper()} by level, each at its own size, as the paper’s."
                    " “paper’s …”: the paper’s networks, trained here; grey, “paper: …”: the"
                    " printed curves."
                )
            else:
                curves = [curve for curve in curves if not _is_printed(curve)]
            name = f"{prefix}{metric}-by-level{'-own-size' if own else ''}"
            still = level_curves(
                curves, metric=metric, level_axis=level_axis, in_focus=study.in_focus
            )
            moving = interactive.level_curves(
                curves, name=name, metric=metric, level_axis=level_axis, in_focus=study.in_focus
            )
            yield picture(study, still, name, caption, interactive=moving)
    yield outcome_source(study)


def _is_printed(curve: Curve) -> bool:
    return isinstance(curve.subject, Reference) and curve.subject.role == ReferenceRole.PAPER


def restoration_figures(
    study: Study, *, figures: tuple[str, ...], file: str = EXAMPLES
) -> Iterator[Block]:
    """Yield example restorations at every level, and as in the figures of the paper that are named;
    nothing if no network left any.
    """
    examples = _examples(study, file)
    if not examples:
        return
    title, first = study.dataset.level_title, examples[0][1]
    name = "restorations" if file == EXAMPLES else "transfer-restorations"
    yield Heading("Restorations")
    yield picture(
        study,
        restorations(examples, level_title=title),
        name,
        f"Field {first['field']}: defocused (the unrestored input), with its best affine fit,"
        " restored by each network (the seed with the median of the primary endpoint, the lower one"
        " of two), in focus.",
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
    rows = ", ".join(
        f"{run.begun.row} ({run.label}: {study.run_folder(run).name}/{file})"
        for run in _median_runs(study)
    )
    yield source(study, f"{rows} in the folder trials")


def _examples(study: Study, file: str) -> list[Example]:
    """Return the examples that the outcome's networks left: baselines first, then the winner."""
    runs, winner = sorted(_median_runs(study), key=lambda run: run.id), study.history.winner()
    chosen = [run for run in runs if run.role == Role.BASELINE and run.finished]
    if winner is not None:
        chosen += [run for run in runs if run.trial == winner.trial and run.finished]
    examples = [(run.label, load_examples(study.run_folder(run), file)) for run in chosen]
    return [(label, arrays) for label, arrays in examples if arrays is not None]


def _median_runs(study: Study) -> list[Run]:
    """Return the run of each configuration of the final phase that stands for it: its pictures are
    neither the best nor the worst of its seeds.
    """
    runs = study.history.of_phase(study.history.final_phase)
    shown = {label: median_replicate(study, label) for label in {run.label for run in runs}}
    return [run for run in runs if run.id.replicate == shown[run.label]]
