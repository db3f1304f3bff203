"""Configurations from outside both the paper and the search, confirmed beside them where a study
asks for it.
"""

from __future__ import annotations

from typing import Any

from search_spaces.baselines import SPLIT_IMAGE, WHOLE_IMAGE, baselines
from search_spaces.sizes import Sizes

RESIDUAL_UNET = "residual U-Net"
TUNED = {"tuned_whole": WHOLE_IMAGE, "tuned_split": SPLIT_IMAGE}
TRAINING = (  # the hyperparameters that are no part of a network
    "loss",
    "alpha",
    "relative_loss",
    "weigh_near_focus",
    "learning_rate",
    "schedule",
    "weight_decay",
    "batch_size",
    "augment",
    "augment_light",
    "ema",
)


def comparators(sizes: Sizes) -> dict[str, tuple[str, dict[str, Any]]]:
    """Return name in a study's configuration -> label and hyperparameters, of the space `beyond`.

    ``residual_unet`` is a residual U-Net (Ronneberger et al., 2015) of 164,035 parameters with the
    usual training: two convolutions a block, concatenating skips, L1, Adam with a cosine schedule.
    """
    unet = {
        "family": "unet",
        "depth": 2,
        "unet_filters": 18,
        "growth": 2,
        "convolutions": 2,
        "kernel": 3,
        "activation": "relu",
        "normalisation": "none",
        "skip": "concat",
        "residual": True,
        "global_context": False,
        "upsampling": "transpose",
        "dropout": 0.0,
        "image_size": sizes.whole[0],
        "crop_size": (sizes.crops or sizes.whole)[0],
        "loss": "l1",
        "relative_loss": False,
        "weigh_near_focus": False,
        "learning_rate": 1e-3,
        "schedule": "cosine",
        "weight_decay": 0.0,
        "batch_size": 16,
        "augment": False,
        "augment_light": False,
        "ema": False,
    }
    return {"residual_unet": (RESIDUAL_UNET, unet)}


def initial_configurations(sizes: Sizes) -> dict[str, dict[str, Any]]:
    """Return name in a study's configuration -> hyperparameters, of the space `beyond`, that a
    search can begin with.

    ``unet`` is the residual U-Net with 16 filters instead of 18, which the space does not hold.
    ``robust`` is the same network trained so that it does less harm near the focus, for less gain
    far from it: by a relative loss, on images turned and lit otherwise. ``context`` is the same
    network with global context, trained by MS-SSIM + L1 in which images near the focus count for
    more.
    """
    unet = comparators(sizes)["residual_unet"][1] | {"unet_filters": 16}
    robust = {
        "loss": "l2",
        "relative_loss": True,
        "learning_rate": 2e-3,
        "augment": True,
        "augment_light": True,
        "ema": True,
    }
    context = {
        "global_context": True,
        "loss": "msssim_l1",
        "alpha": 0.8,
        "weigh_near_focus": True,
        "learning_rate": 2e-3,
        "ema": True,
    }
    return {"unet": unet, "robust": unet | robust, "context": unet | context}


def tuned_baseline(name: str, sizes: Sizes, winner: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """Return the name and hyperparameters of one of the paper's networks, trained as a search's
    winner is.

    Beside the baseline it shows what the training has gained, beside the winner what the network
    has.

    Parameters
    ----------
    name : str
        A key of `TUNED`.
    sizes : Sizes
        The study's.
    winner : dict
        The winner's hyperparameters.
    """
    label = TUNED[name]
    training = {key: winner[key] for key in TRAINING if key in winner}
    network = {key: value for key, value in baselines(sizes)[label].items() if key not in TRAINING}
    if name == "tuned_whole" and "crop_size" in winner:
        training["crop_size"] = winner["crop_size"]
    return label, network | training
