"""The paper's two configurations, as points of every space."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

WHOLE_IMAGE = "paper's whole image"
SPLIT_IMAGE = "paper's split image"


def baselines(*, whole_sizes: Sequence[int], split_size: int, patch_sizes: Sequence[int]) -> dict[str, dict[str, Any]]:
    """Return the paper's two configurations by name, at the first of each list of sizes (the paper's: 128, 768, 128)."""
    return {
        WHOLE_IMAGE: {"family": "whole", "depth": 2, "filters": 32, "loss": "l1", "image_size": whole_sizes[0]},
        SPLIT_IMAGE: {
            "family": "split", "depth": 3, "filters": 64, "loss": "l1",
            "image_size": split_size, "patch_size": patch_sizes[0],
        },
    }  # fmt: skip
