"""What a study found out, as the record holds it beside the numbers: plain values, made by whoever
reads the ledger.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from study.record.identities import RunId

CHAMPION = "champion"  # the alias of the best network in MLflow's registry
PROBLEM = "problem"  # the tag that says what could not be concluded


@dataclass(frozen=True)
class KeptModel:
    """A confirmed network whose weights go into the registry.

    Parameters
    ----------
    run : the run that trained it.
    alias : its name in the registry: ``champion`` or the baseline's.
    label : the name that people read.
    folder : where the run left its weights.
    """

    run: RunId
    alias: str
    label: str
    folder: Path


@dataclass(frozen=True)
class Outcome:
    """The outcome of a study that has ended.

    Parameters
    ----------
    tags : short texts by name: the winner, the verdict.
    metrics : numbers by name: the winner's scores, its difference to the better baseline and the
        interval.
    artifacts : files, such as the report.
    models : the networks to register.
    """

    tags: dict[str, str] = field(default_factory=dict)
    metrics: dict[str, float] = field(default_factory=dict)
    artifacts: list[Path] = field(default_factory=list)
    models: list[KeptModel] = field(default_factory=list)

    @property
    def problem(self) -> str:
        """What could not be concluded; empty if all could."""
        return self.tags.get(PROBLEM, "")
