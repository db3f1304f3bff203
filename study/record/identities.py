"""What tells one thing that a study recorded from another: configurations, their runs, and the
rows that stand beside networks.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache, total_ordering

_NAME = re.compile(r"[A-Za-z_][\w -]*")


class Phase(StrEnum):
    """A part of a study that trains networks."""

    SEARCH = "search"
    CONFIRM = "confirm"
    LEAK = "leak"


class Role(StrEnum):
    """Where a configuration comes from."""

    BASELINE = "baseline"
    SEARCHED = "searched"
    COMPARATOR = "comparator"


class TrialStatus(StrEnum):
    """How a run ended."""

    FINISHED = "finished"
    STOPPED = "stopped"
    FAILED = "failed"


@total_ordering
@dataclass(frozen=True)
class TrialId:
    """A configuration of a study: the number that the search gave it, or a comparator's name.

    Parameters
    ----------
    number : int, optional
        From 0, the baselines first; None for a configuration from outside the search.
    name : str
        Of such a configuration, as `confirm.comparators` calls it.

    Raises
    ------
    ValueError
        If it has both or neither, the number is none from 0, or the name cannot be a folder's.
    """

    number: int | None = None
    name: str = ""

    def __post_init__(self) -> None:
        named = bool(_NAME.fullmatch(self.name)) and self.number is None
        numbered = isinstance(self.number, int) and self.number >= 0 and not self.name
        if not named and not numbered:
            raise ValueError(
                "a trial has either a number from 0 or a name of letters, digits, _, - and spaces"
                f" that begins with a letter; got {self.number!r}, {self.name!r}"
            )

    @classmethod
    def parse(cls, value: TrialId | int | str) -> TrialId:
        """Return the identity that a number or a name stands for.

        Raises
        ------
        ValueError
            If it can be neither.
        """
        return value if isinstance(value, TrialId) else _parse_trial(value)

    @property
    def value(self) -> int | str:
        """The number or the name: what is written, and what seeds are derived from."""
        return self.name if self.number is None else self.number

    @property
    def file_name(self) -> str:
        """What its folders and files are called."""
        return self.name if self.number is None else f"{self.number:04d}"

    def __str__(self) -> str:
        return str(self.value)

    def __lt__(self, other: TrialId) -> bool:
        return self._order < other._order

    @property
    def _order(self) -> tuple[bool, int, str]:
        return self.number is None, self.number or 0, self.name


@lru_cache(typed=True)
def _parse_trial(value: int | str) -> TrialId:
    if isinstance(value, str) and not value.isdecimal():
        return TrialId(name=value)
    return TrialId(number=int(value) if isinstance(value, str) else value)


@dataclass(frozen=True, order=True)
class RunId:
    """One training of a configuration: `replicate` counts its seeds from 0."""

    phase: Phase
    trial: TrialId
    replicate: int

    @property
    def file_name(self) -> str:
        """What its files are called."""
        return f"{self.phase}-{self.trial.file_name}-{self.replicate}"

    def __str__(self) -> str:
        return f"{self.phase} {self.trial} {self.replicate}"


class ReferenceRole(StrEnum):
    """What stands beside networks, and is none."""

    UNRESTORED_INPUT = "unrestored input"
    AFFINE_FIT = "affine fit"
    DECONVOLUTION = "deconvolution"
    UPPER_BOUND = "upper bound"
    MEAN_SCALE = "right shape, mean scale"
    PAPER = "paper"


@dataclass(frozen=True, order=True)
class Reference:
    """A row beside the networks.

    Parameters
    ----------
    role : ReferenceRole
        What it is.
    split : str
        The images: ``validation`` or ``test``; ``paper`` for the paper's.
    size : int, optional
        Its own size in pixels; None for the whole-image network's, and where it has none.
    name : str
        The method of a deconvolution, the family of a network of the paper.
    fields : int, optional
        How many fields of the split were scored, where it was not all.
    """

    role: ReferenceRole
    split: str
    size: int | None = None
    name: str = ""
    fields: int | None = None

    @property
    def label(self) -> str:
        """The name that people read."""
        if self.role == ReferenceRole.PAPER:
            return f"paper: {self.name} image"
        if self.role == ReferenceRole.DECONVOLUTION:
            return f"{self.name}, true blur, {self.fields} fields ({self.split})"
        title = str(self.role)
        if self.role == ReferenceRole.AFFINE_FIT:
            title = f"{ReferenceRole.UNRESTORED_INPUT}, best affine fit"
        return f"{title}{f' at {self.size} px' if self.size else ''} ({self.split})"

    @property
    def is_curve(self) -> bool:
        """Whether it stands in curves by level beside networks at the evaluation resolution."""
        return self.role != ReferenceRole.UPPER_BOUND and self.size is None
