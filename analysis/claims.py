"""The paper's research questions and claims, answered in words that are made from a study's
numbers.

Every sentence names its interval; where the interval holds 0 it says that nothing can be told
apart.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from analysis.compare import collapsed, final_images, final_phase, upper_bounds
from analysis.load import Study
from analysis.paper_tables import averages
from analysis.statistics import MIN_WELLS, Estimate, estimate
from analysis.tables import baseline_labels, networks, unrestored_label
from study.record.ledger import AT_SIZE, UPPER_BOUND

CLAIMED_LOSS = 0.15  # on synthetic blur: "only a decrease of 15%"
FALL_FROM = 25  # the z-plane from which the paper sees its scores fall


@dataclass(frozen=True)
class Finding:
    """What the paper asks or claims, and what was found here.

    Parameters
    ----------
    claim : the paper's, in our words.
    found : what was measured, in words.
    agrees : agrees, differs, differs in size, open (the interval leaves both possible), or not
        measured.
    """

    claim: str
    found: str
    agrees: str


def answers(study: Study) -> list[tuple[str, list[str]]]:
    """Return the research questions and their answers."""
    rq1 = [sentence for label in networks(study) for sentence in _gain(study, label)]
    found = [("RQ1: To what extent can an autoencoder reconstruct out-of-focus cell images?", rq1)]
    other = study.transfer
    title = (
        "RQ2: How robust is it on images from elsewhere, and (RQ2.1) to what extent can it"
        " reconstruct them?"
    )
    if other is None:
        how = (
            "Not measured: no other data set was named (transfer.root), on which every confirmed"
            " network would be scored."
        )
        return [*found, (title, [how])]
    rq2 = [
        sentence
        for label in networks(other)
        for sentence in (*_gain(other, label), _fall_text(other, label))
    ]
    return [
        *found,
        (
            title,
            [
                (
                    f"Trained on {study.header['images']['title']}, scored on"
                    f" {other.header['images']['title']}."
                ),
                *rq2,
            ],
        ),
    ]


def claims(study: Study) -> list[Finding]:
    """Return the paper's claims, each beside what this study finds."""
    found = [_whole_against_split(study)]
    if study.transfer is not None:
        found.append(_whole_against_split(study.transfer))
    if study.kind == "bbbc006":
        found.append(_fall_above_focus(study))
    return [*found, _loss_on_synthetic_blur(study), _brightened_cells(study), _seams(study)]


def interval_text(found: Estimate, *, digits: int = 3) -> str:
    """Return a mean, signed, with its interval or why it has none."""
    mean = f"{found.mean:+.{digits}f}"
    if np.isnan(found.low):
        return f"{mean} (no interval: {found.wells} wells, {MIN_WELLS} are needed)"
    seeds = ", one seed" if found.seeds == 1 else ""
    return f"{mean} (95 % interval {found.low:+.{digits}f} to {found.high:+.{digits}f}{seeds})"


def _gain(study: Study, label: str) -> list[str]:
    """Say how far a network is above the unrestored input, on average and at how many levels, and
    above its best affine fit.
    """
    ours, sentences = final_images(study, label), []
    theirs = final_images(study, unrestored_label(study))
    if len(theirs):
        found = estimate(ours, theirs)
        sentence = (
            f"{label}: SSIM {_mean(ours):.3f} against {_mean(theirs):.3f} for leaving the images as"
            f" they are: {interval_text(found)}, {_sign_text(found)}."
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
        sentences.append(sentence)
    fitted = final_images(study, unrestored_label(study, affine=True))
    if len(fitted):  # the fit has the smallest squared error, so it is compared by PSNR
        found = estimate(ours, fitted, metric="psnr")
        sentences.append(
            f"{label}: PSNR {_mean(ours, 'psnr'):.2f} dB against {_mean(fitted, 'psnr'):.2f} dB for"
            " the change of intensities with the smallest squared error, which is told the truth:"
            f" {interval_text(found, digits=2)} dB, {_sign_text(found)}."
        )
    perfect = _upper_bound(study, label)
    if perfect is not None:
        sentences.append(
            f"{label}: a perfect restoration of its image size would score SSIM {perfect:.3f} on"
            " the evaluation resolution."
        )
    if label in collapsed(study):
        sentences.append(
            f"{label} restores the same image whatever it is shown: nothing was learned but the"
            " mean image."
        )
    return sentences


def _upper_bound(study: Study, label: str) -> float | None:
    """Return the SSIM at the evaluation resolution of a upper bound at a network's image size."""
    hyperparameters = study.trials[study.trials["label"] == label]["hyperparameters"].iloc[0]
    perfect = upper_bounds(study)
    found = perfect[
        perfect["label"].str.startswith(f"{UPPER_BOUND} {hyperparameters['image_size']} px")
    ]
    return float(found["ssim"].iloc[0]) if len(found) else None


def _unmeasured(study: Study, *families: str) -> str:
    """Say why a claim about some of the paper's networks cannot be judged; empty if it can."""
    names = baseline_labels(study)
    if missing := [family for family in families if family not in names]:
        return f"No {' and no '.join(missing)}-image network was scored."
    if failed := [names[family] for family in families if names[family] in collapsed(study)]:
        return (
            f"{' and '.join(failed)} restores the same image whatever it is shown: its training"
            " collapsed, and says nothing of the claim."
        )
    return ""


def _whole_against_split(study: Study) -> Finding:
    claim = (
        "The whole-image network is a little better than the split-image network"
        f" ({study.header['images']['title']})."
    )
    names, printed = baseline_labels(study), averages(study.kind)
    words = []
    if set(names) >= {"whole", "split"}:
        ours, theirs = final_images(study, names["whole"]), final_images(study, names["split"])
        for metric, title, digits in (("ssim", "SSIM", 3), ("psnr", "PSNR in dB", 2)):
            gap = getattr(printed["whole"], metric) - getattr(printed["split"], metric)
            own, evaluation = (
                estimate(ours, theirs, metric=name) for name in (f"own_{metric}", metric)
            )
            words.append(
                f"{title}, each at its own size: {interval_text(own, digits=digits)}, printed"
                f" {gap:+.{digits}f}; at the evaluation resolution:"
                f" {interval_text(evaluation, digits=digits)}"
            )
    text = f"Whole less split. {'. '.join(words)}." if words else ""
    if reason := _unmeasured(study, "whole", "split"):
        return Finding(claim, f"{reason} {text}".strip(), "not measured")
    own = estimate(ours, theirs, metric="own_ssim")
    agrees = _agreement(own)
    if agrees == "agrees" and own.low > 2 * (printed["whole"].ssim - printed["split"].ssim):
        agrees = "differs in size"
    return Finding(claim, text, agrees)


def _fall_above_focus(study: Study) -> Finding:
    claim = (
        f"The scores fall steeply from z {FALL_FROM} on, because blur above the focal plane is of"
        " another kind."
    )
    images = final_images(study)
    reach = min(images["level"].max() - study.in_focus, study.in_focus - images["level"].min())
    last, first, mirrored = (
        study.in_focus + reach,
        study.in_focus - reach,
        2 * study.in_focus - FALL_FROM,
    )
    if not {last, first, FALL_FROM, mirrored} <= set(images["level"]) or last <= FALL_FROM:
        return Finding(
            claim,
            f"z {FALL_FROM}, z {mirrored}, and as far planes on both sides beyond them are not all"
            " there.",
            "not measured",
        )
    sentences, judged = [], {}
    for family, label in baseline_labels(study).items():
        ours = final_images(study, label)
        above, below = _step(ours, last, FALL_FROM), _step(ours, first, mirrored)
        falls, more = estimate(above), estimate(above, below)
        sentences.append(
            f"{label}: SSIM changes by {interval_text(falls)} from z {FALL_FROM} to z {last}, which"
            f" is {interval_text(more)} beside its change as far below focus, from z {mirrored} to"
            f" z {first}."
        )
        judged[family] = (
            "agrees"
            if falls.below and more.below
            else "differs"
            if falls.above or more.above
            else "open"
        )
        judged[family] = "not measured" if np.isnan(falls.low) else judged[family]
    if study.header["images"]["simulated"]:
        sentences.append(
            "These planes are simulated by the same Gaussian above and below focus: a difference of"
            " kind cannot show here."
        )
        return Finding(claim, " ".join(sentences), "not measured")
    if reason := _unmeasured(study, "whole"):
        return Finding(claim, " ".join([reason, *sentences]), "not measured")
    return Finding(claim, " ".join(sentences), judged["whole"])


def _loss_on_synthetic_blur(study: Study) -> Finding:
    claim = (
        "On synthetic cells the scores fall by only 15 % from the lightest to the heaviest blur."
    )
    other = study.transfer
    if other is None or other.kind != "bbbc005" or study.kind != "bbbc006":
        return Finding(
            claim,
            "No networks that were trained on BBBC006 were scored on BBBC005 (transfer.root).",
            "not measured",
        )
    names = baseline_labels(other)
    words = " ".join(_fall_text(other, label) for label in names.values())
    if reason := _unmeasured(other, "whole"):
        return Finding(claim, f"{reason} {words}".strip(), "not measured")
    first = _relative_loss(other, names["whole"])
    agrees = (
        "not measured"
        if np.isnan(first.low)
        else (
            "agrees"
            if first.high <= CLAIMED_LOSS
            else "differs"
            if first.low > CLAIMED_LOSS
            else "open"
        )
    )
    return Finding(claim, words, agrees)


def _brightened_cells(study: Study) -> Finding:
    claim = "The split-image network makes cells brighter than they were seen."
    names, words, judged = baseline_labels(study), [], {}
    for family, label in names.items():
        ours = final_images(study, label)
        size = int(
            study.trials[study.trials["label"] == label]["hyperparameters"].iloc[0]["image_size"]
        )
        seen = final_images(
            study,
            (
                unrestored_label(study)
                if family == "whole"
                else unrestored_label(study).replace("unrestored input", f"{AT_SIZE} {size} px")
            ),
        )
        text = (
            f"{label}: {interval_text(estimate(ours, metric='own_cells_bias'))} from the in-focus"
            " image"
        )
        if len(seen):
            judged[family] = estimate(ours, seen, metric="own_cells_bias")
            text += f", {interval_text(judged[family])} from the defocused one"
        words.append(text)
    text = (
        "Brightness where cells are (Otsu), at the network’s own size, in units of [0, 1]."
        f" {'; '.join(words)}."
    )
    if reason := _unmeasured(study, "split"):
        return Finding(claim, f"{reason} {text}", "not measured")
    return Finding(
        claim, text, _agreement(judged["split"]) if "split" in judged else "not measured"
    )


def _seams(study: Study) -> Finding:
    claim = (
        "Stitching patches leaves a “bordering” effect in the split-image network’s restorations."
    )
    names, rows = baseline_labels(study), stitching_table(study)
    rows = rows[rows["label"] == names.get("split")] if len(rows) else rows
    if rows.empty:
        return Finding(claim, "No network that is trained on patches was measured.", "not measured")
    found, ssim = estimate(rows, metric="excess"), estimate(rows, metric="ssim_gain")
    text = (
        f"{names['split']}: the mean absolute error within {int(rows['border_px'].iloc[0])} px of a"
        " seam less that elsewhere, stitched, less the same with the same weights on the whole"
        f" image at once: {interval_text(found, digits=5)}. Stitched less whole, SSIM:"
        f" {interval_text(ssim, digits=4)}."
    )
    if names["split"] in collapsed(study):
        return Finding(claim, f"{_unmeasured(study, 'split')} {text}", "not measured")
    return Finding(claim, text, _agreement(found))


def stitching_table(study: Study) -> pd.DataFrame:
    """Return a row for each field and network asked: label, replicate, well, errors at the seams
    and elsewhere in both modes.

    ``excess`` is (border - inside) of the stitched restoration less that of the whole one;
    ``ssim_gain`` is stitched less whole.
    """
    rows = []
    for event in study.stitching:
        for index, well in enumerate(event["wells"]):
            values = {
                f"{part}_{mode}": event[part][mode][index]
                for part in ("border", "inside", "ssim", "psnr")
                for mode in ("stitched", "whole")
            }
            excess = (values["border_stitched"] - values["inside_stitched"]) - (
                values["border_whole"] - values["inside_whole"]
            )
            rows.append(
                {
                    "label": event["label"],
                    "replicate": event["replicate"],
                    "well": well,
                    "row": event["row"],
                    "border_px": event["border_px"],
                    **values,
                    "excess": excess,
                    "ssim_gain": values["ssim_stitched"] - values["ssim_whole"],
                }
            )
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
    """Compare training within levels with training by well, on the images that both hold out; None
    if it was not asked for.
    """
    if study.images.empty or final_phase(study) != "confirm":
        return None
    leaking = study.images[
        (study.images["phase"] == "leak") & (study.images["level"] != study.in_focus)
    ]
    if leaking.empty:
        return None
    label = str(leaking["label"].iloc[0])
    shown = leaking[["field", "level"]].drop_duplicates()
    by_well = final_images(study, label).merge(shown, on=["field", "level"])
    rows = {}
    for metric in ("ssim", "psnr"):
        within, apart = (estimate(side, metric=metric).mean for side in (leaking, by_well))
        rows[metric] = (within, apart, estimate(leaking, by_well, metric=metric))
    return Leak(label, len(shown), rows)


def leak_text(found: Leak) -> str:
    """Say what the split within levels leaks, by each metric."""
    told = []
    for metric, digits, unit in (("ssim", 4, ""), ("psnr", 2, " dB")):
        difference = found.rows[metric][2]
        sign = (
            "higher, fields leak"
            if difference.above
            else "lower"
            if difference.below
            else "no leak can be told from chance"
        )
        sign = "too few wells to say more" if np.isnan(difference.low) else sign
        told.append(f"{metric.upper()} {interval_text(difference, digits=digits)}{unit}: {sign}")
    return (
        f"{found.label}, trained with the paper’s split within levels less trained with the split"
        f" by well, on {found.images} images that both hold out. {'. '.join(told)}."
    )


def _relative_loss(study: Study, label: str) -> Estimate:
    images = final_images(study, label)
    first, last = (
        images[images["level"] == level].groupby(["well", "replicate"])["ssim"].mean()
        for level in _ends(images)
    )
    return estimate((1 - last / first).reset_index())


def _fall_text(study: Study, label: str) -> str:
    images = final_images(study, label)
    first, last = _ends(images)
    values = [_mean(images[images["level"] == level]) for level in (first, last)]
    found = _relative_loss(study, label)
    interval = (
        "" if np.isnan(found.low) else f" (95 % interval {found.low:.1%} to {found.high:.1%})"
    )
    title = study.header["images"]["level_title"]
    return (
        f"{label}: SSIM {values[0]:.3f} at {title} {first} and {values[1]:.3f} at {last}:"
        f" {found.mean:.1%} lost{interval}."
    )


def _ends(images: pd.DataFrame) -> tuple[int, int]:
    return int(images["level"].min()), int(images["level"].max())


def _step(images: pd.DataFrame, level: int, start: int) -> pd.DataFrame:
    """Return SSIM at `level` less SSIM at `start`, by well and replicate."""
    at = {
        one: images[images["level"] == one].groupby(["well", "replicate"])["ssim"].mean()
        for one in (level, start)
    }
    return (at[level] - at[start]).reset_index()


def _mean(images: pd.DataFrame, metric: str = "ssim") -> float:
    return estimate(images, metric=metric).mean


def _sign_text(found: Estimate) -> str:
    if np.isnan(found.low):
        return "too few wells to say more"
    return "better" if found.above else "worse" if found.below else "inconclusive"


def _agreement(found: Estimate) -> str:
    """Say whether an estimate that a claim expects above 0 is."""
    if np.isnan(found.low):
        return "not measured"
    return "agrees" if found.above else "differs" if found.below else "open"
