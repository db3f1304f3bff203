"""BBBC005: synthetic cells (SIMCEP) at 16 blur levels, 24 cell counts, 25 samples and two stains.

https://bbbc.broadinstitute.org/BBBC005. The same count and sample is the same scene at every blur
F; F 1 is in focus. The data set's page says that w1 shows cell bodies; the images show small round
nuclei there. The paper's numbers fit w1.
"""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import cv2
import numpy as np

from study.data.planes import Layout, PaperFacts, Plane, Simulation, find_files
from study.data.provenance import write_provenance
from study.data.simulate import in_parallel
from study.errors import StudyError, raise_all
from study.files import new_folder, read_image, write_tiff

COUNTS = tuple(round(1 + 99 * step / 23) for step in range(24))  # of cells: 1, 5, 10, .. 96, 100
BLURS = (1, 4, 7, 10, 14, 17, 20, 23, 26, 29, 32, 35, 39, 42, 45, 48)
IN_FOCUS_LEVEL = 1
IMAGE_FOLDER = "BBBC005_v1_images"
_PACKBITS = 32773

_IMAGE = re.compile(r"SIMCEPImages_([A-P]\d\d)_C(\d+)_F(\d+)_s(\d+)_(w[12])\.tiff?", re.IGNORECASE)


def file_name(*, count: int, blur: int, sample: int, channel: str) -> str:
    """Return the official name: the plate's row stands for the blur, its column for the count."""
    row, column = "ABCDEFGHIJKLMNOP"[BLURS.index(blur)], COUNTS.index(count) + 1
    return f"SIMCEPImages_{row}{column:02d}_C{count}_F{blur}_s{sample:02d}_{channel}.TIF"


def blur_kernel(blur: int) -> np.ndarray:
    """Return the data set's own filter of level `blur` at native pixels, shape (K, K), K odd.

    To convolve with. An even filter gets a row and a column of zeros, which shift it by half a
    pixel as the data set does.
    """
    taps = blur_taps(blur)
    taps = taps if blur % 2 else np.append(taps, 0.0)
    return np.outer(taps, taps)


def blur_taps(blur: int) -> np.ndarray:
    """Return the data set's filter along one axis, shape (blur,): a Gaussian of sigma
    ``floor(blur / 4 + 0.5)``.

    Equal to every real image of F 23 and F 48. Those two do not decide how a sigma of n + 0.5 is
    rounded at F 10, 26, 42 (rounding half to even) or 17, 29, 45 (rounding up).
    """
    sigma_px = np.floor(blur / 4 + 0.5) or 1.0  # any, for the single tap of the level in focus
    taps = np.exp(-((np.arange(blur) - (blur - 1) / 2) ** 2) / (2 * sigma_px**2))
    return np.asarray(taps / taps.sum())


def blur_image(image: np.ndarray, blur: int) -> np.ndarray:
    """Blur an image, shape (Y, X), uint8, as the data set's own level `blur` was made.

    Zero-padded correlation with a `blur` x `blur` Gaussian, rounded; an even filter is anchored at
    ``blur / 2 - 1``.
    """
    taps = blur_taps(blur)
    anchor = blur // 2 if blur % 2 else blur // 2 - 1
    blurred = cv2.sepFilter2D(
        image.astype(np.float64),
        cv2.CV_64F,
        taps,
        taps,
        anchor=(anchor, anchor),
        borderType=cv2.BORDER_CONSTANT,
    )
    return np.clip(np.floor(blurred + 0.5), 0, 255).astype(np.uint8)


def simulate(
    folder: Path,
    *,
    wells: int | None = None,
    fields_per_well: int = 1,
    from_sharp: Path | None,
    seed: int = 0,
) -> int:
    """Write a raw folder: real F1 images (channel w1) at all 16 blur levels.

    Parameters
    ----------
    folder : Path
        Made if missing; an error if it holds anything.
    wells : int, optional
        Scenes to make, evenly over the cell counts; all if not given.
    fields_per_well : int
        1: a scene is one field.
    from_sharp : Path
        A folder that holds SIMCEPImages_..._F1_..._w1.TIF.
    seed : int
        Not used: nothing is drawn.

    Returns
    -------
    int
        Images written.
    """
    if fields_per_well != 1:
        raise StudyError(
            f"a scene of BBBC005 is one field: fields-per-well must be 1; got {fields_per_well}"
        )
    planes = _sharp_planes(from_sharp, wells)

    def write_scene(number: int, target: Path) -> None:
        source = planes[number].path
        count, sample = (int(part[1:]) for part in planes[number].field.split("_"))
        image = read_image(source)
        for blur in BLURS:
            path = target / file_name(count=count, blur=blur, sample=sample, channel="w1")
            if blur == IN_FOCUS_LEVEL:
                shutil.copyfile(source, path)
            else:
                write_tiff(path, blur_image(image, blur), compression=_PACKBITS)

    with new_folder(folder) as target:
        images = target / IMAGE_FOLDER
        images.mkdir()
        in_parallel(lambda number: write_scene(number, images), range(len(planes)))
        write_provenance(
            target,
            "real F1 images, blurred by the data set's own filter (its F23 and F48 come back pixel"
            " by pixel)",
        )
    return len(planes) * len(BLURS)


def _sharp_planes(folder: Path | None, wells: int | None) -> list[Plane]:
    """Return the F1 images to blur, and check that they are the data set's own."""
    planes = [] if folder is None or not folder.is_dir() else _read_planes(folder)
    planes = [p for p in planes if p.level == IN_FOCUS_LEVEL and p.channel == "w1"]
    if not planes:
        raise StudyError(
            f"--from-sharp must name a folder with SIMCEPImages_..._F1_..._w1.TIF; {folder}"
            " holds none"
        )
    planes.sort(key=lambda plane: plane.field)
    wells = len(planes) if wells is None else wells
    if not 1 <= wells <= len(planes):
        raise StudyError(
            f"scenes must be 1 to {len(planes)}, the F1 images in {folder}; got {wells}"
        )
    planes = [planes[index * len(planes) // wells] for index in range(wells)]
    wrong = [f"{plane.path}: {problem}" for plane in planes if (problem := _problem(plane))]
    raise_all(wrong, heading="F1 images must be the data set's own")
    return planes


def _problem(plane: Plane) -> str | None:
    if int(plane.field.split("_")[0][1:]) not in COUNTS:
        return f"BBBC005 has no such number of cells; it has {', '.join(map(str, COUNTS))}"
    try:
        image = read_image(plane.path)
    except StudyError as error:
        return str(error)
    if (image.shape, image.dtype) != (LAYOUT.shape, np.dtype(LAYOUT.dtype)):
        return f"its shape is {image.shape}, its type {image.dtype}"
    return None


def _read_planes(root: Path) -> list[Plane]:
    planes = []
    for path in find_files(root, (".tif", ".tiff")):
        if (match := _IMAGE.fullmatch(path.name)) and not _is_mask(path):
            scene = f"C{int(match[2]):03d}_s{int(match[4]):02d}"
            planes.append(Plane(scene, scene, int(match[3]), match[5].lower(), path))
    return planes


def _is_mask(path: Path) -> bool:
    """Return whether a file lies among the data set's foreground masks, whose names are alike."""
    return "ground_truth" in path.parent.name.lower() or path.parent.name.lower() == "masks"


LAYOUT = Layout(
    kind="bbbc005",
    title="BBBC005",
    all_levels=BLURS,
    in_focus_level=IN_FOCUS_LEVEL,
    level_symbol="F",
    level_title="blur level F",
    level_axis="blur level F (px of the filter; 1 is in focus)",
    shown_levels=(4, 23, 48),
    well_title="scene",
    shape=(520, 696),
    dtype="uint8",
    expected="files SIMCEPImages_<well>_C<cells>_F<blur>_s<sample>_w<stain>.TIF",
    read_planes=_read_planes,
    blur_kernel=blur_kernel,
    real_blur_known=True,
    simulation=Simulation(simulate, needs_sharp=True, max_fields_per_well=1),
    paper=PaperFacts(
        trained_on=False,
        wells=600,
        fields=600,
        averages_table="2",
        level_table="5",
        curve_figure="Figure 3",
        example_figures=("9",),
        counts_levels=True,
    ),
)
