"""The paper's two configurations, which every space holds."""

from __future__ import annotations

from typing import Any

from search_spaces.sizes import Sizes

WHOLE_IMAGE = "paper's whole image"
SPLIT_IMAGE = "paper's split image"


def baselines(sizes: Sizes) -> dict[str, dict[str, Any]]:
    """Return the paper's two configurations by name, at the first of each list of sizes (the
    paper's: 128, 768, 128).
    """
    return {
        WHOLE_IMAGE: {
            "family": "whole",
            "depth": 2,
            "filters": 32,
            "growth": 2,
            "loss": "l1",
            "image_size": sizes.whole[0],
        },
        SPLIT_IMAGE: {
            "family": "split",
            "depth": 3,
            "filters": 64,
            "growth": 1,
            "loss": "l1",
            "image_size": sizes.split,
            "patch_size": sizes.patches[0],
        },
    }
