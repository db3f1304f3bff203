"""What a study does between its first event and its last: `study.workflow.study.run_study` runs
these stages, and `study.planning` estimates them.
"""

from __future__ import annotations

from enum import StrEnum

from study.config import StudyConfig


class Stage(StrEnum):
    """A part of a study, in the order in which they come; its value is what people read."""

    REFERENCES = "the references"
    SEARCH = "the search"
    TIMING = "timing steps"
    CONFIRMATION = "the confirmation"
    POST_HOC = "the post-hoc evaluation"
    LEAK = "the leak"


def stages_of(config: StudyConfig) -> list[Stage]:
    """Return the stages that a configuration asks for, in their order."""
    absent = set()
    if config.search.space == "none":
        absent.add(Stage.SEARCH)
    if config.confirm.seconds is None:
        absent.add(Stage.TIMING)
    if not config.confirm.leak:
        absent.add(Stage.LEAK)
    return [stage for stage in Stage if stage not in absent]
