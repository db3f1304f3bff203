"""Training, validation and test: fields divided by well or scene, so that none is on two sides."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np

from study.errors import StudyError


@dataclass(frozen=True)
class Split:
    """Indices of the fields of each side, ascending."""

    train: list[int]
    validation: list[int]
    test: list[int]

    @property
    def every(self) -> list[int]:
        """The fields of all sides, ascending."""
        return sorted([*self.train, *self.validation, *self.test])

    def to_dict(self) -> dict[str, list[int]]:
        """Return the sides by name."""
        return asdict(self)


def split_by_well(wells: Sequence[str], *, test: float, validation: float, seed: int) -> Split:
    """Divide fields so that all fields of a well, at every level, are on the same side.

    Parameters
    ----------
    wells : sequence of str
        The well (or scene) of each field.
    test, validation : float
        Share of the wells, rounded; at least one well where the share is above 0.
    seed : int
        Same seed and wells, same split.

    Raises
    ------
    StudyError
        If there are too few wells for three sides.
    """
    names = sorted(set(wells))
    counts = {
        side: max(1, round(share * len(names))) if share > 0 else 0
        for side, share in (("test", test), ("validation", validation))
    }
    train = len(names) - sum(counts.values())
    if train < 1:
        raise StudyError(
            f"{len(names)} well(s) or scene(s) cannot be divided: {counts['test']} for the test"
            f" set and {counts['validation']} for validation leave none to train on. Use more, or"
            " set dataset.test and dataset.validation lower"
        )
    order = [names[index] for index in np.random.default_rng(seed).permutation(len(names))]
    side = dict.fromkeys(order[: counts["test"]], "test")
    side |= dict.fromkeys(
        order[counts["test"] : counts["test"] + counts["validation"]], "validation"
    )
    fields: dict[str, list[int]] = {"train": [], "validation": [], "test": []}
    for index, well in enumerate(wells):
        fields[side.get(well, "train")].append(index)
    return Split(**fields)


def hold_out_within_levels(fields: int, levels: int, *, share: float, seed: int) -> list[list[int]]:
    """Draw a share of the fields at each level on its own, as the paper does: a field is held out
    at some levels, trained on at others.

    Parameters
    ----------
    fields, levels : int
        How many there are.
    share : float
        Of the fields at each level, rounded.
    seed : int
        Same seed and numbers, same choice.

    Returns
    -------
    list of list of int
        For each field the levels that it is held out at, as indices, ascending.
    """
    rng = np.random.default_rng(seed)
    held_out: list[list[int]] = [[] for _ in range(fields)]
    for level in range(levels):
        for field in rng.permutation(fields)[: max(1, round(share * fields))]:
            held_out[field].append(level)
    return held_out
