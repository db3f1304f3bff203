"""Numbers of the configuration that have bounds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal


@dataclass(frozen=True)
class Bound:
    """What a number of the configuration has to be, such as ``>= 1``; `study.validation` checks it.

    jsonargparse stops at the first number out of its bounds, and its own types stay in the values.
    """

    comparison: Literal[">=", ">", "<"]
    limit: float

    def __repr__(self) -> str:
        return f"{self.comparison} {self.limit:g}"


Count = Annotated[int, Bound(">=", 1)]
CountOrZero = Annotated[int, Bound(">=", 0)]
Share = Annotated[float, Bound(">=", 0), Bound("<", 1)]
