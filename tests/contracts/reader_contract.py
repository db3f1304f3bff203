"""What every reader of a data set must do, on a folder in its layout.

A test class of a layout inherits these tests, and has a fixture `folder`: the layout and a raw
folder of four fields at least, at all levels, in channel w1 alone.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from study.data.planes import Layout, Plane, read_planes, thin_out
from study.errors import StudyError
from study.files import read_image

Folder = tuple[Layout, Path]


def planes_of(layout: Layout, root: Path) -> list[Plane]:
    return read_planes(layout, root, channel="w1", levels=None)


class ReaderContract:
    @pytest.fixture
    def copy(self, folder: Folder, tmp_path: Path) -> Folder:
        """The same folder, by links, to be spoiled."""
        layout, source = folder
        target = tmp_path / "raw"
        shutil.copytree(source, target, copy_function=lambda old, new: Path(new).symlink_to(old))
        return layout, target

    def test_every_field_has_every_level_in_order(self, folder: Folder) -> None:
        layout, root = folder
        planes = planes_of(layout, root)
        fields = list(dict.fromkeys(plane.field for plane in planes))
        assert len(fields) >= 4
        assert [(plane.field, plane.level) for plane in planes] == [
            (field, level) for field in fields for level in layout.all_levels
        ]

    def test_what_a_layout_says_of_its_images_is_so(self, folder: Folder) -> None:
        layout, root = folder
        image = read_image(planes_of(layout, root)[0].path)
        assert (image.shape, image.dtype) == (layout.shape, np.dtype(layout.dtype))
        assert layout.in_focus_level in layout.all_levels
        assert set(layout.shown_levels) <= {*layout.all_levels} - {layout.in_focus_level}
        if layout.blur_kernel is not None:
            for level in layout.shown_levels:
                kernel = layout.blur_kernel(level)
                assert kernel.shape[0] == kernel.shape[1]
                assert kernel.shape[0] % 2 == 1
                assert kernel.sum() == pytest.approx(1)
            assert layout.blur_kernel(layout.in_focus_level).shape == (1, 1)

    def test_a_plane_that_one_field_lacks_is_named(self, copy: Folder) -> None:
        layout, root = copy
        lost = planes_of(layout, root)[2]
        lost.path.unlink()
        text = rf"field {lost.field} has no image of {layout.level_title} {lost.level}\b"
        with pytest.raises(StudyError, match=text):
            planes_of(layout, root)

    def test_every_culprit_is_named(self, copy: Folder) -> None:
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

    def test_a_gap_in_the_levels_is_named_and_a_subset_can_be_asked_for(self, copy: Folder) -> None:
        layout, root = copy
        gap = next(level for level in layout.all_levels[1:-1] if level != layout.in_focus_level)
        for plane in planes_of(layout, root):
            if plane.level == gap:
                plane.path.unlink()
        with pytest.raises(StudyError, match=rf"gap: no image of {layout.level_title} {gap}\."):
            planes_of(layout, root)
        wanted = [layout.all_levels[0], layout.all_levels[-1]]
        planes = read_planes(layout, root, channel="w1", levels=wanted)
        assert {plane.level for plane in planes} == {*wanted, layout.in_focus_level}

    def test_a_level_that_is_not_there_cannot_be_asked_for(self, folder: Folder) -> None:
        layout, root = folder
        with pytest.raises(StudyError, match="77"):
            read_planes(layout, root, channel="w1", levels=[77])

    def test_the_in_focus_level_must_be_there(self, copy: Folder) -> None:
        layout, root = copy
        for plane in planes_of(layout, root):
            if plane.level == layout.in_focus_level:
                plane.path.unlink()
        with pytest.raises(StudyError, match="lacks the in-focus"):
            planes_of(layout, root)

    def test_empty_and_missing_folders_and_channels(self, folder: Folder, tmp_path: Path) -> None:
        layout, root = folder
        empty = tmp_path / "empty"
        empty.mkdir()
        with pytest.raises(StudyError) as error:
            planes_of(layout, empty)
        assert layout.expected in str(error.value)
        hint = f"refocus simulate {layout.kind}" in str(error.value)
        assert hint == (layout.simulation is not None)
        with pytest.raises(StudyError, match="does not exist"):
            planes_of(layout, tmp_path / "nowhere")
        with pytest.raises(StudyError, match=r"It holds channel w1: set dataset\.channel"):
            read_planes(layout, root, channel="w2", levels=None)

    def test_thinning_keeps_whole_fields(self, folder: Folder) -> None:
        layout, root = folder
        planes = planes_of(layout, root)
        kept = thin_out(planes, 2)
        assert len(kept) == 2 * len(layout.all_levels)
        assert {plane.field for plane in kept} <= {plane.field for plane in planes}
        assert thin_out(planes, 10_000) == thin_out(planes, None) == planes

    def test_a_field_has_one_well_whatever_the_level(self, folder: Folder) -> None:
        layout, root = folder
        pairs = {(plane.field, plane.well) for plane in planes_of(layout, root)}
        assert len(pairs) == len({field for field, _ in pairs})
        assert len({well for _, well in pairs}) >= 2
