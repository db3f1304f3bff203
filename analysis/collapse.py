"""Which trainings collapsed: a network that does not look at its input."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from analysis.final_scores import final_images
from analysis.load import REFERENCE, Study
from study.record.history import Run

# dB; a constant image scores the same at every level of a field. One that still varies scores
# differently by hundredths of a dB; real networks, in focus and far from it, by several dB.
COLLAPSED_DB = 0.1


@lru_cache(maxsize=8)
def collapsed_ids(study: Study) -> frozenset[tuple[str, str, int]]:
    """Return phase, label and replicate of every run that was scored and collapsed.

    A run is collapsed if over the levels of a field, the in-focus one among them, its PSNR at the
    evaluation resolution ranges over less than `COLLAPSED_DB` in the median over fields: the
    scale-invariant one where it was measured, for a network whose output is in units of its input
    restores one shape in another scale at each level.
    """
    if study.images.empty:
        return frozenset()
    run = ["phase", "label", "replicate"]
    networks = study.images[study.images["phase"] != REFERENCE]
    scores = networks["psnr"]
    if "si_psnr" in networks:
        scores = networks["si_psnr"].fillna(scores)
    psnr = networks.assign(score=scores).groupby([*run, "field"], sort=True)["score"]
    with np.errstate(invalid="ignore"):  # infinite less infinite
        ranges = (psnr.max() - psnr.min())[psnr.count() > 1]
    medians = ranges.groupby(run, sort=True).median()
    return frozenset(
        (str(phase), str(label), int(replicate))
        for phase, label, replicate in medians.index[medians < COLLAPSED_DB]
    )


def collapsed_runs(study: Study) -> dict[str, list[int]]:
    """Return the replicates of each configuration of the outcome that collapsed, by label; those
    without any are not named.
    """
    collapsed: dict[str, list[int]] = {}
    for phase, label, replicate in sorted(collapsed_ids(study)):
        if phase == study.history.final_phase:
            collapsed.setdefault(label, []).append(replicate)
    return collapsed


def is_collapsed(study: Study, run: Run) -> bool:
    """Whether a run collapsed."""
    return (str(run.id.phase), run.label, run.id.replicate) in collapsed_ids(study)


def seeds_of(study: Study, label: str) -> int:
    """Return how many trainings of a configuration the outcome rests on."""
    images = final_images(study, label, defocused=False)
    return int(images[images["phase"] != REFERENCE]["replicate"].nunique())


def collapse_text(study: Study, label: str) -> str:
    """Say how many of a configuration's seeds collapsed; empty if none did."""
    count = len(collapsed_runs(study).get(label, []))
    return f"{count} of {seeds_of(study, label)} seeds of {label} collapsed" if count else ""


def all_collapsed(study: Study, label: str) -> bool:
    """Whether every training of a configuration collapsed."""
    return 0 < seeds_of(study, label) == len(collapsed_runs(study).get(label, []))
