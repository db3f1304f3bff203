from __future__ import annotations

import copy

from study.renamed import current_config, current_hyperparameters

OLD = {
    "name": "mine",
    "sizes": {"whole": [128], "common": 64},
    "search": {"first": ["unet", "robust"], "objectives": ["harmless_ssim", "gflop"], "trials": 3},
    "confirm": {"marks": ["unet", "earlier"], "best": 1},
    "evaluation": {"inference": "whole"},
}
NEW = {
    "name": "mine",
    "sizes": {"whole": [128]},
    "search": {
        "initial_configurations": ["unet", "robust"],
        "objectives": ["penalized_ssim", "gflop"],
        "trials": 3,
    },
    "confirm": {"comparators": ["residual_unet", "earlier"], "best": 1},
    "evaluation": {"inference": "whole", "resolution": 64},
}


def test_a_configuration_of_an_earlier_version_becomes_one_of_today() -> None:
    old = copy.deepcopy(OLD)
    assert current_config(old) == NEW
    assert old == OLD
    assert current_config(NEW) == NEW


def test_a_configuration_that_lacks_sections_is_not_filled() -> None:
    assert current_config({}) == {}
    assert current_config({"sizes": {"common": 64}}) == {
        "sizes": {},
        "evaluation": {"resolution": 64},
    }


def test_hyperparameters_of_an_earlier_version_become_those_of_today_in_their_order() -> None:
    old = {"family": "free", "depth": 2, "width": 16, "growth": 1}
    new = {"family": "unet", "depth": 2, "unet_filters": 16, "growth": 1}
    assert list(current_hyperparameters(old).items()) == list(new.items())
    assert current_hyperparameters(new) == new
    assert old["family"] == "free"


def test_hyperparameters_of_the_papers_families_stay() -> None:
    whole = {"family": "whole", "width": 16, "filters": 8}
    assert current_hyperparameters(whole) == whole
