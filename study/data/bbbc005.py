"""BBBC005: synthetic cells (SIMCEP) at 16 blur levels, 24 cell counts, 25 samples and two stains.

https://bbbc.broadinstitute.org/BBBC005. The same count and sample is the same scene at every blur
F; F 1 is in focus. The data set's page says that w1 shows cell bodies; the images show small round
nuclei there. The paper's numbers fit w1.
"""

from __future__ import annotations

import re
from pathlib import Path

from study.data.planes import Annotation, Layout, Plane, find_files

COUNTS = (
    1,
    5,
    10,
    14,
    18,
    23,
    27,
    31,
    35,
    40,
    44,
    48,
    53,
    57,
    61,
    66,
    70,
    74,
    78,
    83,
    87,
    91,
    96,
    100,
)
BLURS = (1, 4, 7, 10, 14, 17, 20, 23, 26, 29, 32, 35, 39, 42, 45, 48)
IN_FOCUS_LEVEL = 1
IMAGE_FOLDER = "BBBC005_v1_images"

_IMAGE = re.compile(r"SIMCEPImages_([A-P]\d\d)_C(\d+)_F(\d+)_s(\d+)_(w[12])\.tiff?", re.IGNORECASE)


def file_name(*, count: int, blur: int, sample: int, channel: str) -> str:
    """Return the official name: the plate's row stands for the blur, its column for the count."""
    row, column = "ABCDEFGHIJKLMNOP"[BLURS.index(blur)], COUNTS.index(count) + 1
    return f"SIMCEPImages_{row}{column:02d}_C{count}_F{blur}_s{sample:02d}_{channel}.TIF"


def _in_ground_truth(path: Path) -> bool:
    return "ground_truth" in path.parent.name.lower() or path.parent.name.lower() == "masks"


def _read_planes(root: Path) -> list[Plane]:
    planes = []
    for path in find_files(root, (".tif", ".tiff")):
        if (match := _IMAGE.fullmatch(path.name)) and not _in_ground_truth(path):
            scene = f"C{int(match[2]):03d}_s{int(match[4]):02d}"
            planes.append(Plane(scene, scene, int(match[3]), match[5].lower(), path))
    return planes


def _read_annotations(root: Path) -> dict[str, Annotation]:
    found: dict[str, Annotation] = {}
    for path in find_files(root, (".tif", ".tiff", ".png")):
        if not (match := _IMAGE.fullmatch(Path(path.name).with_suffix(".tif").name)):
            continue
        scene = f"C{int(match[2]):03d}_s{int(match[4]):02d}"
        label = path if _in_ground_truth(path) else found.get(scene, Annotation()).label
        found[scene] = Annotation(label=label, count=int(match[2]))
    return found


LAYOUT = Layout(
    kind="bbbc005",
    title="BBBC005",
    all_levels=BLURS,
    in_focus_level=IN_FOCUS_LEVEL,
    level_title="blur level F",
    level_axis="blur level F (px of the filter; 1 is in focus)",
    shown_levels=(4, 23, 48),
    well_title="scene",
    shape=(520, 696),
    dtype="uint8",
    expected="files SIMCEPImages_<well>_C<cells>_F<blur>_s<sample>_w<stain>.TIF",
    read_planes=_read_planes,
    read_annotations=_read_annotations,
)
