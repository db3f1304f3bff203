"""What a restoration scored, image by image: the one form in which trials report and the record
keeps it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import isnan, nan

Table = dict[str, list[list[float]]]  # metric -> a row for each field, a value for each level


@dataclass(frozen=True, kw_only=True)
class Score:
    """Metrics of restorations of one set of fields, image by image.

    Parameters
    ----------
    eval_split : str
        ``validation`` or ``test``; ``paper`` for what the paper printed.
    levels : list of int
        The levels scored, the in-focus one among them.
    fields, wells : list of str
        The fields scored, and the well or scene of each; empty for means of many images.
    evaluation : dict
        Metric -> its value for every field (row) and level (column) at the evaluation resolution;
        nan where an image was not scored.
    own : dict
        The same at the model's own size; with ``ssim_range2``, SSIM with a data range of 2, and
        ``cells_bias``.
    summary : dict
        Metric -> mean over the scored defocused images at the evaluation resolution; and the
        task's ``objective``.
    """

    eval_split: str
    levels: list[int]
    fields: list[str]
    wells: list[str]
    evaluation: Table
    own: Table
    summary: dict[str, float]

    def level_means(self, metric: str, *, own: bool = False) -> list[float]:
        """Return means over fields at each level; nan where no image of a level was scored."""
        columns = zip(*(self.own if own else self.evaluation)[metric], strict=True)
        return [_mean(column) for column in columns]


def _mean(values: Sequence[float]) -> float:
    scored = [value for value in values if not isnan(value)]
    return sum(scored) / len(scored) if scored else nan
