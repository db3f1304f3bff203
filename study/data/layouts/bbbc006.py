"""BBBC006: human U2OS cells, 34 focal planes of 384 wells, two fields and two stains a well.

Ljosa et al., Nature Methods 9, 637 (2012), https://bbbc.broadinstitute.org/BBBC006. Planes are 2 um
apart; plane 16 is in focus, smaller ones lie below it. The identifier at the end of a file's name
differs from plane to plane.
"""

from __future__ import annotations

import random
import re
import uuid
from pathlib import Path

import cv2
import numpy as np

from study.data.planes import Layout, PaperFacts, Plane, Simulation, find_files
from study.data.provenance import write_provenance
from study.data.simulate import (
    add_noise,
    draw_nuclei,
    find_sharp_images,
    in_parallel,
    to_camera_range,
)
from study.errors import StudyError
from study.files import new_folder, read_image, write_tiff

PLANE_FOLDER = "BBBC006_v1_images_z_{level:02d}"
PREFIX = "mcf-z-stacks-03212011"
DISTANCE_UM = 2.0
IN_FOCUS_LEVEL = 16
# native pixels, measured on real planes below focus: 4.75, 8.25, 12.0, 15.5 px at 8, 16, 24, 32 um
SIGMA_PX_PER_UM = 0.48
MAX_FIELDS_PER_WELL = 9

_FOLDER = re.compile(r"BBBC006_v1_images_z_(\d\d)", re.IGNORECASE)
_IMAGE = re.compile(rf"{PREFIX}_([a-p]\d\d)_s(\d)_(w[12])[0-9a-f-]*\.tiff?", re.IGNORECASE)


def blur_kernel(level: int) -> np.ndarray:
    """Return the blur of a simulated plane at native pixels, shape (K, K), K odd, sum 1; the
    in-focus plane's is a single pixel.
    """
    sigma_px = _defocus_sigma(_defocus_um(level))
    radius = int(np.ceil(3 * sigma_px))
    taps = np.exp(-0.5 * (np.arange(-radius, radius + 1) / max(sigma_px, 1e-6)) ** 2)
    taps /= taps.sum()
    return np.outer(taps, taps)


def defocus(image: np.ndarray, distance_um: float) -> np.ndarray:
    """Blur an image, shape (Y, X), by the Gaussian that stands for `distance_um` out of focus;
    float64.
    """
    sigma_px = _defocus_sigma(distance_um)
    if sigma_px == 0:
        return image.astype(np.float64)
    return cv2.GaussianBlur(
        image.astype(np.float64), (0, 0), sigma_px, borderType=cv2.BORDER_REFLECT
    )


def simulate(
    folder: Path,
    *,
    wells: int,
    fields_per_well: int = 1,
    from_sharp: Path | None = None,
    seed: int = 0,
) -> int:
    """Write a raw folder: every field at all 34 planes, official names, 16-bit LZW TIFF.

    Procedural nuclei or real in-focus images, defocused by a Gaussian of 0.48 px for each um of
    distance, then photon and read noise.

    Parameters
    ----------
    folder : Path
        Made if missing; an error if it holds anything.
    wells, fields_per_well : int
        How many; a field of a real image is one of `from_sharp`, so there must be enough of them.
    from_sharp : Path, optional
        A folder of in-focus images, 520 x 696; procedural nuclei without it.
    seed : int
        Same seed, same files.

    Returns
    -------
    int
        Images written.
    """
    if not 1 <= wells <= 384:
        raise StudyError(f"BBBC006 has 384 wells: wells must be 1 to 384; got {wells}")
    if not 1 <= fields_per_well <= MAX_FIELDS_PER_WELL:
        raise StudyError(
            f"fields-per-well must be 1 to {MAX_FIELDS_PER_WELL} (a site is one digit in the file"
            f" names); got {fields_per_well}"
        )
    fields = [(well, site) for well in range(wells) for site in range(1, fields_per_well + 1)]
    sharp: list[Path] = []
    if from_sharp is not None:
        sharp = find_sharp_images(from_sharp, need=len(fields), shape=LAYOUT.shape)

    def write_field(number: int, target: Path) -> None:
        well, site = fields[number]
        rng = np.random.default_rng([seed, number])
        image = to_camera_range(read_image(sharp[number])) if sharp else draw_nuclei(rng)
        identifiers = random.Random(f"{seed}/{number}")
        for level in LAYOUT.all_levels:
            blurred = defocus(image, _defocus_um(level))
            identifier = uuid.UUID(int=identifiers.getrandbits(128), version=4)
            name = f"{PREFIX}_{_well_name(well)}_s{site}_w1{identifier}.tif"
            path = target / PLANE_FOLDER.format(level=level) / name
            write_tiff(path, add_noise(blurred, rng))

    with new_folder(folder) as target:
        for level in LAYOUT.all_levels:
            (target / PLANE_FOLDER.format(level=level)).mkdir()
        in_parallel(lambda number: write_field(number, target), range(len(fields)))
        source = f"real in-focus images ({from_sharp.name})" if from_sharp else "procedural nuclei"
        write_provenance(
            target,
            f"{source}, defocused by a Gaussian of {SIGMA_PX_PER_UM} px a um, with photon and read"
            f" noise, seed {seed}",
        )
    return len(fields) * len(LAYOUT.all_levels)


def _defocus_um(level: int) -> float:
    return abs(level - IN_FOCUS_LEVEL) * DISTANCE_UM


def _defocus_sigma(distance_um: float) -> float:
    """Return the sigma, in native pixels, of the Gaussian that stands for so far out of focus."""
    return SIGMA_PX_PER_UM * distance_um


def _well_name(number: int) -> str:
    return f"{'abcdefghijklmnop'[number // 24]}{number % 24 + 1:02d}"


def _read_planes(root: Path) -> list[Plane]:
    planes = []
    for path in find_files(root, (".tif", ".tiff")):
        folder, image = _FOLDER.fullmatch(path.parent.name), _IMAGE.fullmatch(path.name)
        if folder and image:
            well, site, channel = image[1].lower(), image[2], image[3].lower()
            planes.append(Plane(f"{well}_s{site}", well, int(folder[1]), channel, path))
    return planes


LAYOUT = Layout(
    kind="bbbc006",
    title="BBBC006",
    all_levels=tuple(range(34)),
    in_focus_level=IN_FOCUS_LEVEL,
    level_symbol="z",
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
    blur_kernel=blur_kernel,
    simulation=Simulation(simulate, needs_sharp=False, max_fields_per_well=MAX_FIELDS_PER_WELL),
    paper=PaperFacts(
        trained_on=True,
        wells=384,
        fields=768,
        averages_table="1",
        level_table="3-4",
        curve_figure="Figure 2",
        example_figures=("4", "5", "6"),
        counts_levels=False,
    ),
)
