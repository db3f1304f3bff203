"""A mirror that runs until MLflow has everything: also in a process of its own, which needs no
framework.
"""

from __future__ import annotations

import sys
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import Any

from study.record.mirror import Mirror
from study.record.outcome import Outcome


def sync(
    folder: Path,
    uri: str,
    *,
    patience_s: float = 60,
    outcome: Outcome | None = None,
    **options: Any,
) -> int:
    """Mirror a study; return how many events are left."""
    if outcome is not None:
        options["conclude"] = lambda *_: outcome
    mirror = Mirror(folder, uri=uri, experiment="refocus", **options)
    mirror.check()
    mirror.start()
    left = mirror.close(patience_s=patience_s)
    if mirror.failure:
        print(mirror.failure, file=sys.stderr)  # shown where a test fails
    return left


def sync_when_all_are_there(there: Barrier, folder: Path, uri: str, **options: Any) -> None:
    """Mirror a study at the same time as another process."""
    there.wait(120)
    assert sync(folder, uri, **options) == 0
