"""What the paper leaves open within its own two networks: depth, filters, growth, loss and patch
size.
"""

from __future__ import annotations

from typing import Any

from keras_tuner import HyperParameters

from search_spaces.sizes import Sizes, deepest

LOSSES = ["l1", "l2", "msssim_l1"]


def paper(hp: HyperParameters, sizes: Sizes) -> dict[str, Any]:
    """Declare the space; return the configuration that `hp` holds.

    Parameters
    ----------
    hp : keras_tuner.HyperParameters
        Whatever chooses: Optuna through the bridge, or a tuner of KerasTuner.
    sizes : Sizes
        The sizes that may be proposed.

    Returns
    -------
    dict
        ``family``, ``depth``, ``filters``, ``growth``, ``loss``, ``image_size`` and, for split,
        ``patch_size``.
    """
    hp.Choice("family", ["whole", "split"])
    paper_families(hp, sizes)
    return dict(hp.values)


def paper_families(hp: HyperParameters, sizes: Sizes) -> None:
    """Declare what belongs to the families whole and split, once ``family`` is declared."""
    with hp.conditional_scope("family", ["whole"]):
        hp.Int("depth", 1, deepest(sizes.whole))
        hp.Choice("image_size", list(sizes.whole))
    with hp.conditional_scope("family", ["split"]):
        hp.Int("depth", 1, deepest([*sizes.patches, sizes.split]))
        hp.Fixed("image_size", sizes.split)
        hp.Choice("patch_size", list(sizes.patches))
    with hp.conditional_scope("family", ["whole", "split"]):
        hp.Choice("filters", [16, 32, 64])
        hp.Choice("growth", [1, 2])
        hp.Choice("loss", LOSSES)
