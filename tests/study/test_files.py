"""What is read of an image file, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from PIL import Image

from study.errors import StudyError
from study.files import read_image

PLANES = np.random.default_rng(0).integers(0, 4000, (6, 40, 50)).astype(np.uint16)
STACKS: dict[str, tuple[np.ndarray, dict[str, Any], str]] = {
    "pages": (PLANES[:3], {"photometric": "minisblack"}, r"3 planes \(shape \(3, 40, 50\)"),
    "imagej_hyperstack": (
        PLANES.reshape(1, 3, 2, 40, 50),
        {"imagej": True, "metadata": {"axes": "TZCYX"}},
        r"6 planes \(shape \(3, 2, 40, 50\), axes ZCYX\)",
    ),
    "ome_channels": (
        PLANES[:2],
        {"ome": True, "photometric": "minisblack", "metadata": {"axes": "CYX"}},
        r"2 planes \(shape \(2, 40, 50\), axes CYX\)",
    ),
    "samples": (
        PLANES[:3],
        {"photometric": "minisblack", "planarconfig": "separate"},
        r"3 planes \(shape \(3, 40, 50\)",
    ),
}


@pytest.mark.parametrize("stack", STACKS)
def test_a_file_of_several_planes_is_refused_by_name(stack: str, tmp_path: Path) -> None:
    images, how, named = STACKS[stack]
    path = tmp_path / "stack.ome.tif"
    tifffile.imwrite(path, images, **how)
    with pytest.raises(StudyError, match=rf"^has {named}.*must hold one image: split it"):
        read_image(path)


def test_series_of_images_in_one_file_are_refused(tmp_path: Path) -> None:
    with tifffile.TiffWriter(tmp_path / "two.tif") as writer:
        writer.write(PLANES[0])
        writer.write(PLANES[1][:20])
    with pytest.raises(StudyError, match=r"has 2 planes \(shape \(40, 50\), .* and \(20, 50\)"):
        read_image(tmp_path / "two.tif")


def test_an_animation_is_refused(tmp_path: Path) -> None:
    frames = [Image.fromarray(plane.astype(np.uint8)) for plane in PLANES[:3]]
    frames[0].save(tmp_path / "three.png", save_all=True, append_images=frames[1:])
    with pytest.raises(StudyError, match="has 3 planes; a file must hold one image"):
        read_image(tmp_path / "three.png")


@pytest.mark.parametrize(
    "how", [{}, {"imagej": True}, {"ome": True}, {"compression": "zlib"}, {"tile": (16, 16)}]
)
def test_one_plane_is_read_as_it_is(how: dict[str, Any], tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "one.tif", PLANES[0], **how)
    np.testing.assert_array_equal(read_image(tmp_path / "one.tif"), PLANES[0])


def test_colours_and_a_thumbnail_are_no_further_planes(tmp_path: Path) -> None:
    colours = np.moveaxis(PLANES[:3].astype(np.uint8), 0, -1)
    tifffile.imwrite(tmp_path / "colours.tif", colours, photometric="rgb")
    assert read_image(tmp_path / "colours.tif").shape == (40, 50, 3)
    with tifffile.TiffWriter(tmp_path / "thumbnail.tif") as writer:
        writer.write(PLANES[0])
        writer.write(PLANES[0][::2, ::2], subfiletype=1)
    np.testing.assert_array_equal(read_image(tmp_path / "thumbnail.tif"), PLANES[0])
