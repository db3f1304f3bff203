"""The data sets that the program knows, by name."""

from study.data import bbbc005, bbbc006
from study.data.planes import Layout

LAYOUTS: dict[str, Layout] = {layout.kind: layout for layout in (bbbc005.LAYOUT, bbbc006.LAYOUT)}
