"""The paper's space, and the family ``unet``: skips, residual output, normalisation, how it is
trained.
"""

from __future__ import annotations

from typing import Any

from keras_tuner import HyperParameters

from search_spaces.paper import LOSSES, paper_families
from search_spaces.sizes import Sizes, deepest


def beyond(hp: HyperParameters, sizes: Sizes) -> dict[str, Any]:
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
        For the families whole and split what `paper` returns. For the family unet: ``depth``,
        ``unet_filters`` (of the first layer), ``growth``, ``convolutions`` (of a block),
        ``kernel``, ``activation``, ``normalisation``, ``skip``, ``residual``, ``global_context``
        (what an image holds as a whole scales the decoder's channels), ``upsampling``, ``dropout``,
        ``image_size``, ``crop_size``; and of its training ``loss``, ``alpha`` (of MS-SSIM + L1),
        ``relative_loss`` (`study.models.losses.relative`), ``weigh_near_focus``
        (`study.data.batches.EpochBatches`), ``learning_rate``, ``schedule``, ``weight_decay``,
        ``batch_size``, ``augment`` (the symmetries of a square), ``augment_light``
        (`study.data.batches.relight`), ``ema``.
    """
    hp.Choice("family", ["unet", "whole", "split"])
    paper_families(hp, sizes)
    with hp.conditional_scope("family", ["unet"]):
        _network(hp, sizes)
        _training(hp)
    return dict(hp.values)


def _network(hp: HyperParameters, sizes: Sizes) -> None:
    crops = list(sizes.crops or sizes.whole)
    hp.Int("depth", 1, min(4, deepest([*sizes.whole, *crops])))
    # a name of its own: a choice has the same values wherever it is made
    hp.Choice("unet_filters", [8, 16, 32])
    hp.Choice("growth", [1, 2])
    hp.Int("convolutions", 1, 2)
    hp.Choice("kernel", [3, 5])
    hp.Choice("activation", ["relu", "elu", "gelu"])
    hp.Choice("normalisation", ["none", "batch", "layer"])
    hp.Choice("skip", ["none", "add", "concat"])
    hp.Boolean("residual")
    hp.Boolean("global_context")
    hp.Choice("upsampling", ["transpose", "resize", "depth_to_space"])
    hp.Choice("dropout", [0.0, 0.1, 0.2])
    hp.Choice("image_size", list(sizes.whole))
    hp.Choice("crop_size", crops)


def _training(hp: HyperParameters) -> None:
    hp.Choice("loss", LOSSES)
    with hp.conditional_scope("loss", ["msssim_l1"]):
        hp.Float("alpha", 0.1, 0.9, step=0.1)
    hp.Boolean("relative_loss")
    hp.Boolean("weigh_near_focus")
    hp.Float("learning_rate", 2e-4, 5e-3, sampling="log")
    hp.Choice("schedule", ["paper", "cosine"])
    hp.Choice("weight_decay", [0.0, 1e-5, 1e-4])
    hp.Choice("batch_size", [8, 16, 32])
    hp.Boolean("augment")
    hp.Boolean("augment_light")
    hp.Boolean("ema")
