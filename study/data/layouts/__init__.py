"""The data sets that the program knows: one module each.

A data set of your own is one file that holds a `study.data.planes.Layout` called ``LAYOUT``:
either a module of this package, or one of an installed package that names it in the entry points
``refocus.layouts``, such as ``plankton = "my_package.plankton:LAYOUT"``.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterator, Mapping
from functools import lru_cache
from importlib.metadata import entry_points

from study.data.planes import Layout
from study.errors import StudyError

ENTRY_POINTS = "refocus.layouts"


@lru_cache(maxsize=1)
def all_layouts() -> Mapping[str, Layout]:
    """Return every registered layout by its kind, in the kinds' order.

    Raises
    ------
    StudyError
        If something registered is no layout, or two have the same kind.
    """
    layouts: dict[str, Layout] = {}
    for place, layout in _registered():
        if not isinstance(layout, Layout):
            raise StudyError(f"{place} must be a study.data.planes.Layout; it is {layout!r}")
        if layout.kind in layouts:
            raise StudyError(
                f"two layouts have the kind {layout.kind!r}; one is {place}. Rename it"
            )
        layouts[layout.kind] = layout
    return dict(sorted(layouts.items()))


def layout_of(kind: str) -> Layout:
    """Return the layout of a kind.

    Raises
    ------
    StudyError
        If there is none; the message names those that there are.
    """
    layouts = all_layouts()
    if kind not in layouts:
        raise StudyError(
            f"the kind of a data set must be one of {', '.join(layouts)}; got {kind!r}. Another"
            " data set needs a layout: see study/data/layouts/__init__.py"
        )
    return layouts[kind]


def _registered() -> Iterator[tuple[str, object]]:
    """Yield where each layout is, and what is there."""
    for module in pkgutil.iter_modules(__path__, f"{__name__}."):
        yield f"{module.name}.LAYOUT", getattr(importlib.import_module(module.name), "LAYOUT", None)
    for entry in sorted(entry_points(group=ENTRY_POINTS), key=lambda entry: entry.name):
        yield entry.value, entry.load()
