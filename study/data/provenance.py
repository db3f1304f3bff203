"""The mark that a simulated raw folder carries, so that no report takes its images for the
published ones.
"""

from __future__ import annotations

import json
from pathlib import Path

FILE_NAME = "simulated.json"


def write_provenance(folder: Path, made: str) -> None:
    """Leave in a raw folder how its images were made."""
    (folder / FILE_NAME).write_text(json.dumps({"made": made}), encoding="utf-8")


def read_provenance(folder: Path) -> str | None:
    """Return how a raw folder's images were made, or None if they were not made here."""
    path = folder / FILE_NAME
    return str(json.loads(path.read_text(encoding="utf-8"))["made"]) if path.is_file() else None
