"""What the paper leaves open within its own two networks: depth, filters, loss and patch size."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from keras_tuner import HyperParameters

MAX_DEPTH = 5


def paper(hp: HyperParameters, *, whole_sizes: Sequence[int], split_size: int, patch_sizes: Sequence[int]) -> dict[str, Any]:
    """Declare the space; return the point that `hp` stands at.

    Parameters
    ----------
    hp : keras_tuner.HyperParameters
        Whatever chooses: Optuna through the bridge, or a tuner of KerasTuner.
    whole_sizes : sequence of int
        Image sizes of the whole-image family.
    split_size : int
        Image size of the split-image family.
    patch_sizes : sequence of int
        Its patch sizes.

    Returns
    -------
    dict
        ``family``, ``depth``, ``filters``, ``loss``, ``image_size`` and, for split, ``patch_size``.
    """
    hp.Choice("family", ["whole", "split"])
    hp.Int("depth", 1, _deepest([*whole_sizes, *patch_sizes, split_size]))
    hp.Choice("filters", [16, 32, 64])
    hp.Choice("loss", ["l1", "l2", "msssim_l1"])
    with hp.conditional_scope("family", ["whole"]):
        hp.Choice("image_size", list(whole_sizes))
    with hp.conditional_scope("family", ["split"]):
        hp.Fixed("image_size", split_size)
        hp.Choice("patch_size", list(patch_sizes))
    return dict(hp.values)


def _deepest(sizes: Sequence[int]) -> int:
    """How often every size can be halved, at most `MAX_DEPTH` times."""
    return max(depth for depth in range(1, MAX_DEPTH + 1) if all(size % 2**depth == 0 for size in sizes))
