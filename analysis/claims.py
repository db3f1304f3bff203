"""The paper's claims, each beside what a study finds, in words that are made from its numbers.

Every sentence names its interval; where the interval holds 0 it says that the difference is
inconclusive.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import pandas as pd

from analysis.collapse import collapse_text
from analysis.final_scores import final_images, final_split
from analysis.load import Study
from analysis.paper_tables import averages, paper_facts
from analysis.questions import fall_text, relative_loss
from analysis.reproduced_tables import baseline_runs
from analysis.sentences import Agreement, agreement, interval_text
from analysis.statistics import Estimate, estimate, means_by_well
from analysis.stitching import stitching_table
from study.record.identities import Reference, ReferenceRole

CLAIMED_LOSS = 0.15  # on synthetic blur: "only a decrease of 15%"
FALL_FROM = 25  # the z-plane from which the paper sees its scores fall


@dataclass(frozen=True)
class ClaimCheck:
    """What the paper claims, and what was measured here.

    Parameters
    ----------
    claim : the paper's, in our words.
    measured : what was measured, in words.
    agreement : of the two.
    """

    claim: str
    measured: str
    agreement: Agreement


@lru_cache(maxsize=8)
def check_claims(study: Study) -> tuple[ClaimCheck, ...]:
    """Return the paper's claims, each beside what this study finds."""
    checks = [_whole_against_split(study)]
    if study.transfer is not None:
        checks.append(_whole_against_split(study.transfer))
    if (facts := paper_facts(study.kind)) is not None and facts.trained_on:
        checks.append(_fall_above_focus(study))
    checks += [_loss_on_synthetic_blur(study), _brightened_cells(study), _seams(study)]
    return tuple(checks)


def _baseline_labels(study: Study) -> dict[str, str]:
    return {family: run.label for family, run in baseline_runs(study).items()}


def _unmeasured(study: Study, *families: str) -> str:
    """Say why a claim about some of the paper's networks cannot be judged; empty if it can."""
    names = _baseline_labels(study)
    if missing := [family for family in families if family not in names]:
        return f"No {' and no '.join(missing)}-image network was scored."
    if failed := [text for family in families if (text := collapse_text(study, names[family]))]:
        return (
            f"{' and '.join(failed)}: such a network restores the same image whatever it is shown,"
            " and says nothing of the claim."
        )
    return ""


def _whole_against_split(study: Study) -> ClaimCheck:
    claim = (
        "The whole-image network is a little better than the split-image network"
        f" ({study.dataset.title})."
    )
    names, printed = _baseline_labels(study), averages(study.kind)
    if not {"whole", "split"} <= set(names):
        reason = _unmeasured(study, "whole", "split")
        return ClaimCheck(claim, reason, Agreement.NOT_MEASURED)
    ours, theirs = final_images(study, names["whole"]), final_images(study, names["split"])
    words = []
    for metric, title, digits in (("ssim", "SSIM", 3), ("psnr", "PSNR in dB", 2)):
        own, evaluation = (
            interval_text(estimate(ours, theirs, metric=name), digits=digits)
            for name in (f"own_{metric}", metric)
        )
        paper = ""
        if printed:
            gap = getattr(printed["whole"], metric) - getattr(printed["split"], metric)
            paper = f", printed {gap:+.{digits}f}"
        words.append(
            f"{title}, each at its own size: {own}{paper}; at the evaluation resolution:"
            f" {evaluation}"
        )
    text = f"Whole less split. {'. '.join(words)}."
    if reason := _unmeasured(study, "whole", "split"):
        return ClaimCheck(claim, f"{reason} {text}", Agreement.NOT_MEASURED)
    difference = estimate(ours, theirs, metric="own_ssim")
    agrees = agreement(difference)
    if printed and agrees == Agreement.AGREES:
        gap = printed["whole"].ssim - printed["split"].ssim
        agrees = Agreement.DIFFERS_IN_SIZE if difference.low > 2 * gap else agrees
    return ClaimCheck(claim, text, agrees)


def _fall_above_focus(study: Study) -> ClaimCheck:
    claim = (
        f"The scores fall steeply from z {FALL_FROM} on, because blur above the focal plane is of"
        " another kind."
    )
    levels = set(final_images(study)["level"])
    reach = min(max(levels) - study.in_focus, study.in_focus - min(levels))
    last, first = study.in_focus + reach, study.in_focus - reach
    mirrored = 2 * study.in_focus - FALL_FROM
    if not {last, first, FALL_FROM, mirrored} <= levels or last <= FALL_FROM:
        text = (
            f"Not all of z {FALL_FROM}, z {mirrored} and two planes beyond them, as far from focus"
            " as each other, are there."
        )
        return ClaimCheck(claim, text, Agreement.NOT_MEASURED)
    sentences, agrees = [], {}
    for family, label in _baseline_labels(study).items():
        ours = final_images(study, label)
        above, below = _step(ours, last, FALL_FROM), _step(ours, first, mirrored)
        falls, more = estimate(above), estimate(above, below)
        sentences.append(
            f"{label}: SSIM changes by {interval_text(falls)} from z {FALL_FROM} to z {last}, which"
            f" is {interval_text(more)} beside its change as far below focus, from z {mirrored} to"
            f" z {first}."
        )
        agrees[family] = _fall_agreement(falls, more)
    if study.dataset.simulated:
        sentences.append(
            "These planes are simulated by the same Gaussian above and below focus: a difference of"
            " kind cannot show here."
        )
        return ClaimCheck(claim, " ".join(sentences), Agreement.NOT_MEASURED)
    if reason := _unmeasured(study, "whole"):
        return ClaimCheck(claim, " ".join([reason, *sentences]), Agreement.NOT_MEASURED)
    return ClaimCheck(claim, " ".join(sentences), agrees["whole"])


def _fall_agreement(falls: Estimate, more: Estimate) -> Agreement:
    """Judge a fall above focus, and how much more it is than below."""
    if np.isnan(falls.low):
        return Agreement.NOT_MEASURED
    if falls.below and more.below:
        return Agreement.AGREES
    return Agreement.DIFFERS if falls.above or more.above else Agreement.OPEN


def _step(images: pd.DataFrame, level: int, start: int) -> pd.DataFrame:
    """Return SSIM at `level` less SSIM at `start`, by well and replicate."""
    at = {one: means_by_well(images[images["level"] == one], "ssim") for one in (level, start)}
    return (at[level] - at[start]).reset_index()


def _loss_on_synthetic_blur(study: Study) -> ClaimCheck:
    claim = (
        "On synthetic cells the scores fall by only 15 % from the lightest to the heaviest blur."
    )
    other = study.transfer
    sides = [paper_facts(part.kind) for part in (study, other) if part is not None]
    if other is None or [side and side.trained_on for side in sides] != [True, False]:
        text = "No networks that were trained on BBBC006 were scored on BBBC005 (transfer.root)."
        return ClaimCheck(claim, text, Agreement.NOT_MEASURED)
    names = _baseline_labels(other)
    text = " ".join(fall_text(other, label) for label in names.values())
    if reason := _unmeasured(other, "whole"):
        return ClaimCheck(claim, f"{reason} {text}".strip(), Agreement.NOT_MEASURED)
    loss = relative_loss(other, names["whole"])
    if np.isnan(loss.low):
        agrees = Agreement.NOT_MEASURED
    elif loss.high <= CLAIMED_LOSS:
        agrees = Agreement.AGREES
    else:
        agrees = Agreement.DIFFERS if loss.low > CLAIMED_LOSS else Agreement.OPEN
    return ClaimCheck(claim, text, agrees)


def _brightened_cells(study: Study) -> ClaimCheck:
    claim = "The split-image network makes cells brighter than they were seen."
    words, agrees = [], Agreement.NOT_MEASURED
    for family, run in baseline_runs(study).items():
        label, ours = run.label, final_images(study, run.label)
        size = int(run.hyperparameters["image_size"]) if family == "split" else None
        unrestored = Reference(ReferenceRole.UNRESTORED_INPUT, final_split(study), size=size)
        seen = final_images(study, unrestored.label)
        bias = estimate(ours, metric="own_cells_bias")
        text = f"{label}: {interval_text(bias)} from the in-focus image"
        if len(seen):
            change = estimate(ours, seen, metric="own_cells_bias")
            text += f", {interval_text(change)} from the defocused one"
            agrees = agreement(change) if family == "split" else agrees
        words.append(text)
    text = (
        "Brightness where cells are (Otsu), at the network’s own size, in units of [0, 1]."
        f" {'; '.join(words)}."
    )
    if reason := _unmeasured(study, "split"):
        return ClaimCheck(claim, f"{reason} {text}", Agreement.NOT_MEASURED)
    return ClaimCheck(claim, text, agrees)


def _seams(study: Study) -> ClaimCheck:
    claim = (
        "Stitching patches leaves a “bordering” effect in the split-image network’s restorations."
    )
    names, rows = _baseline_labels(study), stitching_table(study)
    rows = rows[rows["label"] == names.get("split")] if len(rows) else rows
    if rows.empty:
        text = "No network that is trained on patches was measured."
        return ClaimCheck(claim, text, Agreement.NOT_MEASURED)
    excess, gain = estimate(rows, metric="excess"), estimate(rows, metric="ssim_gain")
    text = (
        f"{names['split']}: the mean absolute error within {int(rows['border_px'].iloc[0])} px of a"
        " seam less that elsewhere, stitched, less the same with the same weights on the whole"
        f" image at once: {interval_text(excess, digits=5)}. Stitched less whole, SSIM:"
        f" {interval_text(gain, digits=4)}."
    )
    if reason := _unmeasured(study, "split"):
        text = f"{reason} {text}"
        return ClaimCheck(claim, text, Agreement.NOT_MEASURED)
    return ClaimCheck(claim, text, agreement(excess))
