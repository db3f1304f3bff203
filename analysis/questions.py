"""The paper's research questions, answered in words that are made from a study's numbers."""

from __future__ import annotations

import numpy as np
import pandas as pd

from analysis.collapse import collapse_text
from analysis.endpoint import endpoint_tables, primary_endpoint
from analysis.final_scores import final_images, final_references, final_split
from analysis.load import Study
from analysis.reproduced_tables import networks
from analysis.sentences import interval_text, sign_text
from analysis.statistics import Estimate, estimate, means_by_well
from study.record.identities import Reference, ReferenceRole

RQ1 = "RQ1: To what extent can an autoencoder reconstruct out-of-focus cell images?"
RQ2 = (
    "RQ2: How robust is it on images from elsewhere, and (RQ2.1) to what extent can it reconstruct"
    " them?"
)
NO_TRANSFER = (
    "Not measured: no other data set was named (transfer.root), on which every confirmed network"
    " would be scored."
)


def answers(study: Study) -> list[tuple[str, list[str]]]:
    """Return the research questions and their answers."""
    first = [sentence for label in networks(study) for sentence in _gain(study, label)]
    other = study.transfer
    if other is None:
        return [(RQ1, first), (RQ2, [NO_TRANSFER])]
    second = [f"Trained on {other.trained_on.title}, scored on {other.dataset.title}."]
    for label in networks(other):
        second += [*_gain(other, label), fall_text(other, label)]
    return [(RQ1, first), (RQ2, second)]


def _gain(study: Study, label: str) -> list[str]:
    """Say how far a network is above the unrestored input and above its best affine fit, what its
    upper bound is, and whether it has learned anything.
    """
    sentences = [
        *_above_by_endpoint(study, label),
        *_above_unrestored_input(study, label),
        *_above_affine_fit(study, label),
    ]
    bound = _upper_bound(study, label)
    if bound is not None:
        sentences.append(
            f"{label}: a perfect restoration at its image size would score SSIM {bound:.3f} at the"
            " evaluation resolution."
        )
    if text := collapse_text(study, label):
        sentences.append(
            f"{text}: those restore the same image whatever they are shown; nothing was learned but"
            " the mean image."
        )
    return sentences


def _above_by_endpoint(study: Study, label: str) -> list[str]:
    """Compare by the primary endpoint, where it is not the SSIM that is compared anyway."""
    endpoint, tables = primary_endpoint(study), endpoint_tables(study)
    unrestored = Reference(ReferenceRole.UNRESTORED_INPUT, final_split(study)).label
    if endpoint.is_plain_ssim or not {label, unrestored} <= set(tables):
        return []
    difference = estimate(tables[label], tables[unrestored], metric="endpoint")
    values = [
        f"{_mean(tables[one], 'endpoint'):.{endpoint.digits}f}" for one in (label, unrestored)
    ]
    return [
        f"{label}: {endpoint.title} (primary endpoint) {values[0]}{endpoint.unit} against"
        f" {values[1]}{endpoint.unit} of the unrestored input:"
        f" {interval_text(difference, digits=endpoint.digits)}, {sign_text(difference)}."
    ]


def _above_unrestored_input(study: Study, label: str) -> list[str]:
    ours = final_images(study, label)
    theirs = _reference_images(study, ReferenceRole.UNRESTORED_INPUT)
    if theirs.empty:
        return []
    difference = estimate(ours, theirs)
    sentence = (
        f"{label}: SSIM {_mean(ours):.3f} against {_mean(theirs):.3f} of the unrestored input:"
        f" {interval_text(difference)}, {sign_text(difference)}."
    )
    by_level = [
        estimate(ours[ours["level"] == level], theirs[theirs["level"] == level])
        for level in sorted(ours["level"].unique())
    ]
    if not any(np.isnan(one.low) for one in by_level):
        above, below = sum(one.above for one in by_level), sum(one.below for one in by_level)
        sentence += (
            f" Level by level it is better at {above} of {len(by_level)}, worse at {below},"
            f" inconclusive at {len(by_level) - above - below}."
        )
    return [sentence]


def _above_affine_fit(study: Study, label: str) -> list[str]:
    """Compare by PSNR, for the fit has the smallest squared error."""
    ours = final_images(study, label)
    fitted = _reference_images(study, ReferenceRole.AFFINE_FIT)
    if fitted.empty:
        return []
    difference = estimate(ours, fitted, metric="psnr")
    return [
        f"{label}: PSNR {_mean(ours, 'psnr'):.2f} dB against {_mean(fitted, 'psnr'):.2f} dB of the"
        " affine change of intensities with the smallest squared error, which is fitted to the"
        f" in-focus image: {interval_text(difference, digits=2)} dB, {sign_text(difference)}."
    ]


def _upper_bound(study: Study, label: str) -> float | None:
    """Return the SSIM at the evaluation resolution of a perfect restoration at a network's size."""
    runs = study.history.runs.values()
    sizes = {run.hyperparameters["image_size"] for run in runs if run.label == label}
    for reference in final_references(study, ReferenceRole.UPPER_BOUND):
        if reference.size in sizes:
            return study.references[reference].summary["ssim"]
    return None


def _reference_images(study: Study, role: ReferenceRole) -> pd.DataFrame:
    """Return the images of what stands beside networks at the whole-image network's size."""
    return final_images(study, Reference(role, final_split(study)).label)


def fall_text(study: Study, label: str) -> str:
    """Say how much of its SSIM a network loses from the lowest to the highest level."""
    images = final_images(study, label)
    first, last = _ends(images)
    values = [_mean(images[images["level"] == level]) for level in (first, last)]
    loss = relative_loss(study, label)
    interval = "" if np.isnan(loss.low) else f" (95 % interval {loss.low:.1%} to {loss.high:.1%})"
    title = study.dataset.level_title
    return (
        f"{label}: SSIM {values[0]:.3f} at {title} {first} and {values[1]:.3f} at {last}:"
        f" {loss.mean:.1%} lost{interval}."
    )


def relative_loss(study: Study, label: str) -> Estimate:
    """Return the part of its SSIM that a network loses from the lowest to the highest level."""
    images = final_images(study, label)
    first, last = (
        means_by_well(images[images["level"] == level], "ssim") for level in _ends(images)
    )
    return estimate((1 - last / first).reset_index())


def _ends(images: pd.DataFrame) -> tuple[int, int]:
    return int(images["level"].min()), int(images["level"].max())


def _mean(images: pd.DataFrame, metric: str = "ssim") -> float:
    return estimate(images, metric=metric).mean
