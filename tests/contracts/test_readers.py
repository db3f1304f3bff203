"""Every registered layout passes the contract of readers."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from study.data.layouts import all_layouts, bbbc005, bbbc006, layout_of
from tests.contracts.reader_contract import Folder, ReaderContract, planes_of


def write_sharp_images(folder: Path) -> None:
    """Images that every simulation can start from: of their size, and with BBBC005's F1 names."""
    folder.mkdir()
    rng = np.random.default_rng(0)
    for count in (1, 5):
        for sample in (1, 2):
            name = bbbc005.file_name(count=count, blur=1, sample=sample, channel="w1")
            cv2.imwrite(str(folder / name), rng.integers(0, 255, (520, 696), dtype=np.uint8))


@pytest.fixture(scope="module", params=sorted(all_layouts()))
def folder(
    request: pytest.FixtureRequest, raw_folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> Folder:
    layout = layout_of(request.param)
    if layout is bbbc006.LAYOUT:
        return layout, raw_folder
    assert layout.simulation is not None, "write a raw folder of this layout here"
    made = tmp_path_factory.mktemp(layout.kind)
    write_sharp_images(made / "sharp")
    layout.simulation.make(
        made / "raw", wells=4, fields_per_well=1, from_sharp=made / "sharp", seed=0
    )
    return layout, made / "raw"


class TestRegisteredLayouts(ReaderContract):
    """On the fixture `folder` of this module."""


def test_a_well_of_bbbc006_holds_its_fields(raw_folder: Path) -> None:
    pairs = {(plane.well, plane.field) for plane in planes_of(bbbc006.LAYOUT, raw_folder)}
    assert pairs == {
        (well, f"{well}_s{site}") for well in ("a01", "a02", "a03", "a04", "a05") for site in (1, 2)
    }


@pytest.mark.realdata
def test_real_folders_are_read_and_masks_left_out(realdata: Path) -> None:
    z0 = bbbc006.LAYOUT.read_planes(realdata / "bbbc006")
    assert len(z0) == 12
    assert {(plane.level, plane.channel) for plane in z0} == {(0, "w1")}
    synthetic = bbbc005.LAYOUT.read_planes(realdata / "bbbc005")
    assert len(synthetic) == 483
    assert sum(plane.channel == "w2" for plane in synthetic) == 3
