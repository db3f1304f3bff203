"""The paper's research questions and claims, answered in words that are made from a study's numbers.

Every sentence names its interval; where the interval holds 0 it says that nothing can be told apart.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from analysis.compare import MIN_WELLS, Estimate, collapsed, estimate, final_images, final_phase
from analysis.load import Study
from analysis.tables import DO_NOTHING, baseline_labels, compared_labels

CLAIMED_LOSS = 0.15  # on synthetic blur: "only a decrease of 15%"
FALL_FROM = 25  # the z-plane from which the paper sees its scores fall


@dataclass(frozen=True)
class Finding:
    """What the paper asks or claims, and what was found here.

    Parameters
    ----------
    claim : the paper's, in our words.
    found : what was measured, in words.
    agrees : agrees, differs, open (the interval leaves both possible), or not measured.
    """

    claim: str
    found: str
    agrees: str


def answers(study: Study) -> list[tuple[str, list[str]]]:
    """Return the research questions and their answers."""
    rq1 = [sentence for label in _networks(study) for sentence in _gain(study, label)]
    found = [("RQ1: To what extent can an autoencoder reconstruct out-of-focus cell images?", rq1)]
    other = study.transfer
    title = "RQ2: How robust is it on images from elsewhere, and (RQ2.1) to what extent can it reconstruct them?"
    if other is None:
        how = "Not measured: no other data set was named (transfer.root), on which every confirmed network would be scored."
        return [*found, (title, [how])]
    rq2 = [sentence for label in _networks(other) for sentence in (*_gain(other, label), _fall_text(other, label))]
    return [*found, (title, [f"Trained on {study.header['images']['title']}, scored on {other.header['images']['title']}.", *rq2])]


def claims(study: Study) -> list[Finding]:
    """Return the paper's claims, each beside what this study finds."""
    names = baseline_labels(study)
    found = [_whole_against_split(study, names)]
    if study.kind == "bbbc006" and FALL_FROM in set(final_images(study)["level"]):
        found.append(_fall_above_focus(study, names))
    found.append(_loss_on_synthetic_blur(study.transfer if study.kind == "bbbc006" else study))
    found.append(_brightened_cells(study, names))
    found.append(_seams(study, names))
    return found


def interval_text(found: Estimate, *, digits: int = 3) -> str:
    """Return a mean, signed, with its interval or why it has none."""
    mean = f"{found.mean:+.{digits}f}"
    if np.isnan(found.low):
        return f"{mean} (no interval: {found.wells} wells, {MIN_WELLS} are needed)"
    seeds = ", one seed" if found.seeds == 1 else ""
    return f"{mean} (95 % interval {found.low:+.{digits}f} to {found.high:+.{digits}f}{seeds})"


def _networks(study: Study) -> list[str]:
    return [label for label in compared_labels(study) if label not in DO_NOTHING]


def _gain(study: Study, label: str) -> list[str]:
    """Say how far a network is above do-nothing and its best affine fit, on average and at how many levels."""
    ours, sentences = final_images(study, label), []
    for reference, name in zip(DO_NOTHING, ("leaving the images as they are", "the best change of intensities alone"), strict=True):
        theirs = final_images(study, reference)
        if theirs.empty:
            continue
        found = estimate(ours, theirs)
        sentence = f"{label}: SSIM {_mean(ours):.3f} against {_mean(theirs):.3f} for {name}: {interval_text(found)}, {_sign_text(found)}."
        by_level = [estimate(ours[ours["level"] == level], theirs[theirs["level"] == level]) for level in sorted(ours["level"].unique())]
        if reference == DO_NOTHING[0] and not any(np.isnan(one.low) for one in by_level):
            above, below = sum(one.above for one in by_level), sum(one.below for one in by_level)
            sentence += f" Level by level it is better at {above} of {len(by_level)}, worse at {below}, not separable at {len(by_level) - above - below}."
        sentences.append(sentence)
    if label in collapsed(study):
        sentences.append(f"{label} restores the same image whatever it is shown: nothing was learned but the mean image.")
    return sentences


def _whole_against_split(study: Study, names: dict[str, str]) -> Finding:
    claim = "The whole-image network is a little better than the split-image network."
    if set(names) != {"whole", "split"}:
        return Finding(claim, "One of the two was not trained.", "not measured")
    ours, theirs = final_images(study, names["whole"]), final_images(study, names["split"])
    parts = [f"{title} {interval_text(estimate(ours, theirs, metric=metric), digits=digits)}" for metric, title, digits in
             (("ssim", "SSIM", 3), ("psnr", "PSNR in dB", 2))]  # fmt: skip
    return Finding(claim, f"Whole less split, on the common grid: {'; '.join(parts)}.", _agreement(estimate(ours, theirs)))


def _fall_above_focus(study: Study, names: dict[str, str]) -> Finding:
    claim = f"The scores fall steeply from z {FALL_FROM} on, because blur above the focal plane is of another kind."
    sentences, agreement = [], "not measured"
    mirrored = 2 * study.in_focus - FALL_FROM  # as far below focus
    for label in names.values():
        images = final_images(study, label)
        last, first = images["level"].max(), images["level"].min()
        high = _step(images, last, FALL_FROM)
        sentence = f"{label}: SSIM changes by {interval_text(estimate(high))} from z {FALL_FROM} to z {last}"
        if mirrored in set(images["level"]):
            low = _step(images, first, mirrored)
            sentence += f"; that is {interval_text(estimate(high, low))} beside its change below focus, from z {mirrored} to z {first}"
            agreement = _agreement(estimate(low, high)) if agreement == "not measured" else agreement
        sentences.append(f"{sentence}.")
    if study.header["images"]["simulated"]:
        sentences.append("These planes are simulated by the same Gaussian above and below focus: a difference of kind can not show here.")
    return Finding(claim, " ".join(sentences), agreement)


def _loss_on_synthetic_blur(study: Study | None) -> Finding:
    claim = "On synthetic cells the scores fall by only 15 % from the lightest to the heaviest blur."
    if study is None or study.kind != "bbbc005":
        return Finding(claim, "No networks were scored on BBBC005 (transfer.root).", "not measured")
    names = baseline_labels(study)
    losses = {label: _relative_loss(study, label) for label in names.values()}
    words = [_fall_text(study, label) for label in losses]
    first = losses[names["whole"]] if "whole" in names else next(iter(losses.values()))
    agrees = "open"
    if np.isnan(first.low):
        agrees = "not measured"
    elif first.high <= CLAIMED_LOSS:
        agrees = "agrees"
    elif first.low > CLAIMED_LOSS:
        agrees = "differs"
    return Finding(claim, " ".join(words), agrees)


def _brightened_cells(study: Study, names: dict[str, str]) -> Finding:
    claim = "The split-image network makes cells brighter."
    if "split" not in names:
        return Finding(claim, "It was not trained.", "not measured")
    found = {label: estimate(final_images(study, label), metric="own_cells_bias") for label in names.values()}
    words = [f"{label}: {interval_text(one)}" for label, one in found.items()]
    text = f"Restored less in-focus brightness where cells are (Otsu), in units of [0, 1]: {'; '.join(words)}."
    return Finding(claim, text, _agreement(found[names["split"]]))


def _seams(study: Study, names: dict[str, str]) -> Finding:
    claim = "Stitching patches leaves a “bordering” effect in the split-image network’s restorations."
    rows = stitching_table(study)
    rows = rows[rows["label"] == names.get("split")] if len(rows) else rows
    if rows.empty:
        return Finding(claim, "No network that is trained on patches was confirmed.", "not measured")
    found = estimate(rows, metric="excess")
    ssim = estimate(rows, metric="ssim_gain")
    text = (
        f"{names['split']}: the mean absolute error within {int(rows['border_px'].iloc[0])} px of a seam less that elsewhere, stitched, less the same "
        f"with the same weights on the whole image at once: {interval_text(found, digits=4)}. Stitched less whole, SSIM: {interval_text(ssim, digits=4)}."
    )
    return Finding(claim, text, _agreement(found))


def stitching_table(study: Study) -> pd.DataFrame:
    """Return a row for each field and network asked: label, replicate, well, errors at the seams and elsewhere in both modes.

    ``excess`` is (border - inside) of the stitched restoration less that of the whole one; ``ssim_gain`` is stitched less whole.
    """
    rows = []
    for event in study.stitching:
        for index, well in enumerate(event["wells"]):
            values = {
                f"{part}_{mode}": event[part][mode][index]
                for part in ("border", "inside", "ssim", "psnr")
                for mode in ("stitched", "whole")
            }
            excess = (values["border_stitched"] - values["inside_stitched"]) - (values["border_whole"] - values["inside_whole"])
            rows.append(
                {"label": event["label"], "replicate": event["replicate"], "well": well, "row": event["row"], "border_px": event["border_px"],
                 **values, "excess": excess, "ssim_gain": values["ssim_stitched"] - values["ssim_whole"]}
            )  # fmt: skip
    return pd.DataFrame(rows)


@dataclass(frozen=True)
class Leak:
    """The whole-image network under two splits, on images that neither was trained on.

    Parameters
    ----------
    label : the network.
    images : how many were compared.
    rows : metric -> (mean within levels, mean by well, difference).
    """

    label: str
    images: int
    rows: dict[str, tuple[float, float, Estimate]]


def leak(study: Study) -> Leak | None:
    """Compare training within levels with training by well, on the images that both hold out; None if it was not asked for."""
    if study.images.empty or final_phase(study) != "confirm":
        return None
    leaking = study.images[(study.images["phase"] == "leak") & (study.images["level"] != study.in_focus)]
    if leaking.empty:
        return None
    label = str(leaking["label"].iloc[0])
    shown = leaking[["field", "level"]].drop_duplicates()
    by_well = final_images(study, label).merge(shown, on=["field", "level"])
    rows = {
        metric: (_mean(leaking, metric), _mean(by_well, metric), estimate(leaking, by_well, metric=metric)) for metric in ("ssim", "psnr")
    }
    return Leak(label, len(shown), rows)


def leak_text(found: Leak) -> str:
    """Say what the split within levels leaks."""
    ssim = found.rows["ssim"][2]
    sign = "higher: fields leak" if ssim.above else "lower" if ssim.below else "no leak can be told from chance"
    if np.isnan(ssim.low):
        sign = "too few wells to say more"
    return (
        f"{found.label}, trained with the paper’s split within levels less trained with the split by well, on {found.images} images that both hold "
        f"out: SSIM {interval_text(ssim, digits=4)}, PSNR {interval_text(found.rows['psnr'][2], digits=2)} dB: {sign}."
    )


def _relative_loss(study: Study, label: str) -> Estimate:
    images = final_images(study, label)
    first, last = (images[images["level"] == level].groupby(["well", "replicate"])["ssim"].mean() for level in _ends(images))
    return estimate((1 - last / first).reset_index(), metric="ssim")


def _fall_text(study: Study, label: str) -> str:
    images = final_images(study, label)
    first, last = _ends(images)
    values = [_mean(images[images["level"] == level]) for level in (first, last)]
    found = _relative_loss(study, label)
    interval = "" if np.isnan(found.low) else f" (95 % interval {found.low:.1%} to {found.high:.1%})"
    title = study.header["images"]["level_title"]
    return f"{label}: SSIM {values[0]:.3f} at {title} {first} and {values[1]:.3f} at {last}: {found.mean:.1%} lost{interval}."


def _ends(images: pd.DataFrame) -> tuple[int, int]:
    return int(images["level"].min()), int(images["level"].max())


def _step(images: pd.DataFrame, level: int, start: int) -> pd.DataFrame:
    """Return SSIM at `level` less SSIM at `start`, by well and replicate."""
    at = {one: images[images["level"] == one].groupby(["well", "replicate"])["ssim"].mean() for one in (level, start)}
    return (at[level] - at[start]).reset_index()


def _mean(images: pd.DataFrame, metric: str = "ssim") -> float:
    return float(images[metric].mean())


def _sign_text(found: Estimate) -> str:
    if np.isnan(found.low):
        return "too few wells to say more"
    return "better" if found.above else "worse" if found.below else "not separable"


def _agreement(found: Estimate) -> str:
    """Say whether an estimate that a claim expects above 0 is."""
    if np.isnan(found.low):
        return "not measured"
    return "agrees" if found.above else "differs" if found.below else "open"
