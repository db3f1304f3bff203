"""The image and patch sizes that a space may propose, in pixels of a side."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

MAX_DEPTH = 5


@dataclass(frozen=True)
class Sizes:
    """What a study offers; the first of each list is the baseline's.

    Parameters
    ----------
    whole : image sizes of the whole-image family, and of the family unet.
    split : image size of the split-image family.
    patches : its patch sizes.
    crops : what the family unet is trained on: crops of its images; the whole image where a crop is
        as large.
    """

    whole: Sequence[int]
    split: int
    patches: Sequence[int]
    crops: Sequence[int] = ()


def deepest(sizes: Sequence[int]) -> int:
    """Return how often every size can be halved, at most `MAX_DEPTH` times."""
    return max(
        depth for depth in range(MAX_DEPTH + 1) if all(size % 2**depth == 0 for size in sizes)
    )
