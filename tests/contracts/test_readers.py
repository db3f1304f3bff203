"""What every reader of a data set must do, on a folder in its official layout."""

from __future__ import annotations

import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest

from study.data import bbbc005
from study.data.layouts import LAYOUTS
from study.data.planes import Layout, Plane, read_planes, thin_out
from study.errors import StudyError


def write_bbbc005(folder: Path) -> None:
    images = folder / bbbc005.IMAGE_FOLDER
    images.mkdir(parents=True)
    rng = np.random.default_rng(0)
    for count in (1, 5):
        for sample in (1, 2):
            for blur in bbbc005.BLURS:
                image = rng.integers(0, 255, (520, 696), dtype=np.uint8)
                cv2.imwrite(
                    str(
                        images
                        / bbbc005.file_name(count=count, blur=blur, sample=sample, channel="w1")
                    ),
                    image,
                )


@pytest.fixture(scope="module", params=sorted(LAYOUTS))
def folder(
    request: pytest.FixtureRequest, raw_folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Layout, Path]:
    layout = LAYOUTS[request.param]
    if layout.kind == "bbbc006":
        return layout, raw_folder
    made = tmp_path_factory.mktemp("bbbc005")
    write_bbbc005(made)
    return layout, made


@pytest.fixture
def copy(folder: tuple[Layout, Path], tmp_path: Path) -> tuple[Layout, Path]:
    """The same folder, by links, to be spoiled."""
    layout, source = folder
    target = tmp_path / "raw"
    shutil.copytree(source, target, copy_function=lambda old, new: Path(new).symlink_to(old))
    return layout, target


def planes_of(layout: Layout, root: Path) -> list[Plane]:
    return read_planes(layout, root, channel="w1", levels=None)


def test_every_field_has_every_level_in_order(folder: tuple[Layout, Path]) -> None:
    layout, root = folder
    planes = planes_of(layout, root)
    fields = list(dict.fromkeys(plane.field for plane in planes))
    assert [(plane.field, plane.level) for plane in planes] == [
        (field, level) for field in fields for level in layout.all_levels
    ]
    assert layout.in_focus_level in layout.all_levels


def test_a_plane_that_one_field_lacks_is_named(copy: tuple[Layout, Path]) -> None:
    layout, root = copy
    lost = planes_of(layout, root)[3]
    lost.path.unlink()
    with pytest.raises(
        StudyError, match=rf"field {lost.field} has no image of {layout.level_title} {lost.level}\b"
    ):
        planes_of(layout, root)


def test_every_culprit_is_named(copy: tuple[Layout, Path]) -> None:
    layout, root = copy
    planes = planes_of(layout, root)
    lost = [planes[2], planes[-2]]
    for plane in lost:
        plane.path.unlink()
    with pytest.raises(StudyError) as error:
        planes_of(layout, root)
    assert all(
        f"field {plane.field} has no image of {layout.level_title} {plane.level}"
        in str(error.value)
        for plane in lost
    )


def test_a_gap_in_the_levels_is_named_and_a_subset_can_be_asked_for(
    copy: tuple[Layout, Path],
) -> None:
    layout, root = copy
    gap = layout.all_levels[5]
    for plane in planes_of(layout, root):
        if plane.level == gap:
            plane.path.unlink()
    with pytest.raises(StudyError, match=rf"gap: no image of {layout.level_title} {gap}\."):
        planes_of(layout, root)
    wanted = [layout.all_levels[0], layout.all_levels[-1]]
    planes = read_planes(layout, root, channel="w1", levels=wanted)
    assert {plane.level for plane in planes} == {*wanted, layout.in_focus_level}


def test_a_level_that_is_not_there_can_not_be_asked_for(folder: tuple[Layout, Path]) -> None:
    layout, root = folder
    with pytest.raises(StudyError, match="77"):
        read_planes(layout, root, channel="w1", levels=[77])


def test_the_in_focus_level_must_be_there(copy: tuple[Layout, Path]) -> None:
    layout, root = copy
    for plane in planes_of(layout, root):
        if plane.level == layout.in_focus_level:
            plane.path.unlink()
    with pytest.raises(StudyError, match="lacks the in-focus"):
        planes_of(layout, root)


def test_empty_and_missing_folders_and_channels(
    folder: tuple[Layout, Path], tmp_path: Path
) -> None:
    layout, root = folder
    with pytest.raises(StudyError, match="refocus simulate"):
        planes_of(layout, tmp_path)
    with pytest.raises(StudyError, match="does not exist"):
        planes_of(layout, tmp_path / "nowhere")
    with pytest.raises(StudyError, match=r"It holds channel w1: set dataset\.channel"):
        read_planes(layout, root, channel="w2", levels=None)


def test_thinning_keeps_whole_fields(folder: tuple[Layout, Path]) -> None:
    layout, root = folder
    planes = planes_of(layout, root)
    kept = thin_out(planes, 2)
    assert len(kept) == 2 * len(layout.all_levels)
    assert thin_out(planes, 10_000) == thin_out(planes, None) == planes


def test_wells_hold_fields(folder: tuple[Layout, Path]) -> None:
    layout, root = folder
    planes = planes_of(layout, root)
    fields_of = {
        plane.well: {other.field for other in planes if other.well == plane.well}
        for plane in planes
    }
    assert {len(fields) for fields in fields_of.values()} == (
        {2} if layout.kind == "bbbc006" else {1}
    )


@pytest.mark.realdata
def test_real_folders_of_one_plane_are_read(realdata: Path) -> None:
    z0 = LAYOUTS["bbbc006"].read_planes(realdata / "bbbc006")
    assert len(z0) == 12
    assert {(plane.level, plane.channel) for plane in z0} == {(0, "w1")}
    synthetic = LAYOUTS["bbbc005"].read_planes(realdata / "bbbc005")
    assert len(synthetic) == 483
    assert sum(plane.channel == "w2" for plane in synthetic) == 3


@pytest.mark.realdata
def test_labels_masks_and_counts_are_found(realdata: Path) -> None:
    labels = LAYOUTS["bbbc006"].read_annotations(realdata / "bbbc006")
    assert len(labels) == 25
    assert labels["i01_s1"].label is not None
    masks = LAYOUTS["bbbc005"].read_annotations(realdata / "bbbc005")
    assert sum(annotation.label is not None for annotation in masks.values()) == 288
    assert masks["C100_s01"].count == 100
