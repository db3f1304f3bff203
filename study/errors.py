"""The two ways in which a study can fail on purpose; anything else is a bug."""


class TrialFailed(Exception):
    """One trial could not give a result (it diverged, it ran out of memory): recorded, and the
    study goes on.
    """


class StudyError(Exception):
    """The study cannot start or go on. The message says what was wanted, what came and what to
    do.
    """


def raise_all(problems: list[str], *, heading: str) -> None:
    """Raise one `StudyError` that names every problem; do nothing if there is none."""
    if not problems:
        return
    shown = problems[:50]
    lines = [
        f"{heading} ({len(problems)} problem{'s' * (len(problems) > 1)}):",
        *(f"  - {problem}" for problem in shown),
    ]
    if len(problems) > len(shown):
        lines.append(f"  ... and {len(problems) - len(shown)} more of the same kind")
    raise StudyError("\n".join(lines))
