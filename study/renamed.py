"""Names of earlier versions -> today's: keys of a configuration, their values, hyperparameters.

A configuration of today that uses an old name is refused (`study.command_line`). What an older
study left is converted without a word.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

KEYS = {
    "sizes.common": "evaluation.resolution",
    "search.first": "search.initial_configurations",
    "confirm.marks": "confirm.comparators",
}
VALUES = {  # of a list, by its key of today
    "confirm.comparators": {"unet": "residual_unet"},
    "search.objectives": {"harmless_ssim": "penalized_ssim"},
}


def current_config(values: dict[str, Any]) -> dict[str, Any]:
    """Return a resolved configuration with today's keys and values.

    Parameters
    ----------
    values : dict
        Section -> key -> value, as a study left it; not changed here.

    Returns
    -------
    dict
        A copy; what has today's name already stays as it is.
    """
    current = copy.deepcopy(values)
    for old, new in KEYS.items():
        (old_section, old_key), (section, key) = old.split("."), new.split(".")
        if old_key in current.get(old_section, {}):
            current.setdefault(section, {}).setdefault(key, current[old_section].pop(old_key))
    for name, renamed in VALUES.items():
        section, key = name.split(".")
        if key in current.get(section, {}):
            current[section][key] = [renamed.get(value, value) for value in current[section][key]]
    return current


def current_hyperparameters(values: dict[str, Any]) -> dict[str, Any]:
    """Return hyperparameters with today's names: the family free is unet, its width unet_filters.

    Parameters
    ----------
    values : dict
        Name -> value of one configuration, of any family; not changed here.
    """
    if values.get("family") not in ("free", "unet"):
        return dict(values)
    current = {"unet_filters" if name == "width" else name: values[name] for name in values}
    return current | {"family": "unet"}


def find_renamed(key: str, value: Any) -> Iterator[str]:
    """Say what a key, and a value that it is given, are called today where that has changed."""
    new = KEYS.get(key, key)
    if new != key:
        yield f"{key} is now {new}"
    for one in value if isinstance(value, list) else [value]:
        if isinstance(one, str) and one in VALUES.get(new, {}):
            yield f"the value {one} of {new} is now {VALUES[new][one]}"
