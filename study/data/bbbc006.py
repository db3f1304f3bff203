"""BBBC006: human U2OS cells, 34 focal planes of 384 wells, two fields and two stains a well.

Ljosa et al., Nature Methods 9, 637 (2012), https://bbbc.broadinstitute.org/BBBC006. Planes are 2 um
apart; plane 16 is in focus, smaller ones lie below it. The identifier at the end of a file's name
differs from plane to plane.
"""

from __future__ import annotations

import re
from pathlib import Path

from study.data.planes import Annotation, Layout, Plane, find_files

PLANE_FOLDER = "BBBC006_v1_images_z_{level:02d}"
PREFIX = "mcf-z-stacks-03212011"
DISTANCE_UM = 2.0
IN_FOCUS_LEVEL = 16

_FOLDER = re.compile(r"BBBC006_v1_images_z_(\d\d)", re.IGNORECASE)
_IMAGE = re.compile(rf"{PREFIX}_([a-p]\d\d)_s(\d)_(w[12])[0-9a-f-]*\.tiff?", re.IGNORECASE)
_LABEL = re.compile(rf"{PREFIX}_([a-p]\d\d)_s(\d)(?:_w1[0-9a-f-]*)?\.png", re.IGNORECASE)


def _read_planes(root: Path) -> list[Plane]:
    planes = []
    for path in find_files(root, (".tif", ".tiff")):
        folder, image = _FOLDER.fullmatch(path.parent.name), _IMAGE.fullmatch(path.name)
        if folder and image:
            well, site, channel = image[1].lower(), image[2], image[3].lower()
            planes.append(Plane(f"{well}_s{site}", well, int(folder[1]), channel, path))
    return planes


def _read_annotations(root: Path) -> dict[str, Annotation]:
    found = {}
    for path in find_files(root, (".png",)):
        if (match := _LABEL.fullmatch(path.name)) and "labels" in path.parent.name.lower():
            found[f"{match[1].lower()}_s{match[2]}"] = Annotation(label=path)
    return found


LAYOUT = Layout(
    kind="bbbc006",
    title="BBBC006",
    all_levels=tuple(range(34)),
    in_focus_level=IN_FOCUS_LEVEL,
    level_title="z-plane",
    level_axis="z-plane (2 µm apart; 16 is in focus)",
    shown_levels=(0, 8, 33),
    well_title="well",
    shape=(520, 696),
    dtype="uint16",
    expected=(
        "folders BBBC006_v1_images_z_00 .. z_33 with"
        f" {PREFIX}_<well>_s<site>_w<channel><identifier>.tif"
    ),
    read_planes=_read_planes,
    read_annotations=_read_annotations,
)
