"""Names that older versions gave to keys and values of a configuration, and today's."""

from __future__ import annotations

from typing import Any


def current_config(values: dict[str, Any]) -> dict[str, Any]:
    """Return a configuration of an older version, nested plain values, as today's."""
    new = {part: dict(held) if isinstance(held, dict) else held for part, held in values.items()}
    if "common" in new.get("sizes", {}):
        new.setdefault("evaluation", {})["resolution"] = new["sizes"].pop("common")
    if "search" in new:
        if "first" in new["search"]:
            new["search"]["initial_configurations"] = new["search"].pop("first")
        objectives = new["search"].get("objectives", [])
        new["search"]["objectives"] = [one.replace("harmless_", "penalized_") for one in objectives]
    if "marks" in new.get("confirm", {}):
        named = new["confirm"].pop("marks")
        new["confirm"]["comparators"] = [
            "residual_unet" if name == "unet" else name for name in named
        ]
    return new


def current_hyperparameters(values: dict[str, Any]) -> dict[str, Any]:
    """Return hyperparameters of an older version as today's."""
    if values.get("family") != "free":
        return values
    new = {"unet_filters" if name == "width" else name: value for name, value in values.items()}
    return new | {"family": "unet"}
