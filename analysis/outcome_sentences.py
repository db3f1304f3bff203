"""The outcome of a study in sentences: by what it is judged, the differences with their verdicts,
what they rest on, and what a reader must know beside them.
"""

from __future__ import annotations

import pandas as pd

from analysis.collapse import collapse_text, collapsed_runs
from analysis.differences import Difference, differences, margin_of
from analysis.endpoint import primary_endpoint
from analysis.final_scores import final_images, final_split
from analysis.load import Study
from study.record.history import History
from study.record.identities import Phase, TrialStatus


def setting(study: Study) -> str:
    """Say which images the outcome is a mean over, and by what it is judged."""
    images, scored, endpoint = study.dataset, final_images(study), primary_endpoint(study)
    scored = scored[scored["phase"] == study.history.final_phase]
    return (
        f"{images.title}: means over {scored['field'].nunique()} {final_split(study)} fields of"
        f" {scored['well'].nunique()} {images.well_title}s and all defocused levels, at the"
        f" evaluation resolution of {study.config.evaluation.resolution} px (SSIM / PSNR). Primary"
        f" endpoint: {endpoint.title}; a difference of less than"
        f" {margin_of(study):g}{endpoint.unit} counts as none (margin)"
    )


def verdict_sentences(study: Study) -> list[str]:
    """Return a sentence for each candidate, then what all of them rest on."""
    return [*map(_difference_sentence, differences(study)), *_foundations(study)]


def cautions(study: Study) -> list[str]:
    """Return what a reader of any table must know: sampled training, and networks that do not look
    at their input.
    """
    sentences = []
    if (patches := study.config.training.patches_per_image) is not None:
        sentences.append(
            f"Training sampled {patches} patch(es) of each image in an epoch where a patch is"
            " smaller than its image."
        )
    for label, reasons in _failed(study).items():
        count, of = len(reasons), study.config.confirm.replicates * study.config.confirm.splits
        sentences.append(
            f"{count} of {of} seeds of {label} failed ({'; '.join(sorted(set(reasons)))}): its"
            " means are those of the others."
        )
    for label in collapsed_runs(study):
        sentences.append(
            f"{collapse_text(study, label)}: such a network restores the same image whatever it is"
            " shown (its scores do not change with the level). Means over seeds hold it too."
        )
    return sentences


def _failed(study: Study) -> dict[str, list[str]]:
    """Return why runs of the confirmation failed, by label."""
    failed: dict[str, list[str]] = {}
    for run in study.history.of_phase(Phase.CONFIRM):
        if run.end is not None and run.end.status == TrialStatus.FAILED:
            failed.setdefault(run.label, []).append(run.end.reason)
    return failed


def _difference_sentence(one: Difference) -> str:
    digits, unit = one.endpoint.digits, one.endpoint.unit
    interval = (
        ""
        if pd.isna(one.low)
        else f", 95 % interval {one.low:+.{digits}f} to {one.high:+.{digits}f}{unit},"
        f" p {one.p:.3g} (Holm)"
    )
    secondary = []
    for metric, estimated in one.secondary.items():
        places, of = (2, " dB") if metric == "psnr" else (4, "")
        low, high = estimated.low, estimated.high
        inside = "" if pd.isna(low) else f" ({low:+.{places}f} to {high:+.{places}f})"
        secondary.append(f"{metric.upper()} {estimated.mean:+.{places}f}{inside}{of}")
    return (
        f"{one.candidate} - {one.baseline}: {one.endpoint.title} (primary endpoint)"
        f" {one.mean:+.{digits}f}{unit}{interval}: {one.text}. Secondary, without a verdict:"
        f" {', '.join(secondary)}."
    )


def _foundations(study: Study) -> list[str]:
    """Say what verdicts rest on: the splits, and replicates that were added after p was seen."""
    if study.history.final_phase != Phase.CONFIRM:
        return []
    wells = f"{study.dataset.well_title}s"
    images = final_images(study)
    splits = images[images["phase"] == Phase.CONFIRM]["split_number"].nunique()
    sentence = f"All of it rests on one split of the {wells}."
    if splits > 1:
        sentence = (
            f"The intervals hold {splits} splits of the {wells}. In those other than the first, the"
            " test fields include ones that the search chose on, which favours searched"
            " configurations."
        )
    sentences = [sentence]
    if added_after_seen(study.history):
        openings = sum(one.phase == Phase.CONFIRM for one in study.history.openings)
        sentences.append(
            "Replicates or configurations were added after p was seen (the test set was opened"
            f" {openings} times): p is optimistic."
        )
    return sentences


def added_after_seen(history: History) -> bool:
    """Whether a confirmation went on after the study had come to an end with confirmed scores."""
    scored = [
        run.score.row
        for run in history.of_phase(Phase.CONFIRM)
        if run.score is not None and run.finished
    ]
    if not scored:
        return False
    seen = [end.row for end in history.ends if end.row > min(scored)]
    opened = [one.row for one in history.openings if one.phase == Phase.CONFIRM]
    return bool(seen) and max(opened, default=0) > min(seen)
