"""What the paper's split within levels leaks, measured on the images that both splits hold out."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from analysis.final_scores import final_images
from analysis.load import Study
from analysis.sentences import interval_text
from analysis.statistics import Estimate, estimate
from study.record.identities import Phase


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

    @property
    def text(self) -> str:
        """What the split within levels leaks, by each metric."""
        by_metric = []
        for metric, digits, unit in (("ssim", 4, ""), ("psnr", 2, " dB")):
            difference = self.rows[metric][2]
            sign = (
                "too few wells to say more"
                if np.isnan(difference.low)
                else "higher, fields leak"
                if difference.above
                else "lower"
                if difference.below
                else "inconclusive"
            )
            gain = interval_text(difference, digits=digits)
            by_metric.append(f"{metric.upper()} {gain}{unit}: {sign}")
        return (
            f"{self.label}, trained with the paper’s split within levels less trained with the"
            f" split by well, on {self.images} images that both hold out. {'. '.join(by_metric)}."
        )


def measure_leak(study: Study) -> Leak | None:
    """Compare training within levels with training by well, on the images that both hold out; None
    if it was not asked for.
    """
    if study.images.empty or study.history.final_phase != Phase.CONFIRM:
        return None
    within_levels = study.images[
        (study.images["phase"] == Phase.LEAK) & (study.images["level"] != study.in_focus)
    ]
    if within_levels.empty:
        return None
    label = str(within_levels["label"].iloc[0])
    held_out = within_levels[["field", "level"]].drop_duplicates()
    by_well = final_images(study, label).merge(held_out, on=["field", "level"])
    by_well = by_well[by_well["split_number"] == 0]  # trained on the other fields of that split
    rows = {}
    for metric in ("ssim", "psnr"):
        within, apart = (estimate(side, metric=metric).mean for side in (within_levels, by_well))
        rows[metric] = (within, apart, estimate(within_levels, by_well, metric=metric))
    return Leak(label, len(held_out), rows)
