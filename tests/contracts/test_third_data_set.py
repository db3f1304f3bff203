"""A data set that the program does not know becomes one of its own by one file with a `Layout`."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest

from study.command_line import parse
from study.config import DatasetConfig
from study.data import layouts
from study.data.batches import EpochBatches
from study.data.prepare import prepare
from study.data.splits import split_by_well
from study.data.store import Resolution
from study.errors import StudyError
from study.trial.classical import unrestored_input
from study.trial.evaluation import score_classical
from study.trial.task import TrialTask
from study.trial.training import run_trial
from tests.contracts.reader_contract import Folder, ReaderContract

MODULE = '''
"""Plankton on slides, at five distances from the lens."""

import re

from study.data.planes import Layout, Plane, find_files

NAME = re.compile(r"slide(\\d+)_spot(\\d+)_d(\\d+)\\.png")


def read_planes(root):
    planes = []
    for path in find_files(root, (".png",)):
        if match := NAME.fullmatch(path.name):
            slide, spot, level = match.groups()
            planes.append(Plane(f"slide{slide}_{spot}", f"slide{slide}", int(level), "w1", path))
    return planes


LAYOUT = Layout(
    kind="plankton",
    title="Plankton",
    all_levels=(10, 20, 30, 40, 50),
    in_focus_level=30,
    level_symbol="d",
    level_title="distance",
    level_axis="distance (mm; 30 is in focus)",
    shown_levels=(20, 10, 50),
    well_title="slide",
    shape=(48, 64),
    dtype="uint8",
    expected="files slide<number>_spot<number>_d<distance>.png",
    read_planes=read_planes,
)
'''
SLIDES, SPOTS = 5, 2


def write_plankton(root: Path) -> None:
    root.mkdir()
    rng = np.random.default_rng(0)
    for slide in range(SLIDES):
        for spot in range(SPOTS):
            image = np.zeros((48, 64), np.uint8)
            for x, y, radius in rng.integers((0, 0, 2), (64, 48, 8), (9, 3)):
                cv2.circle(image, (int(x), int(y)), int(radius), int(rng.integers(60, 255)), -1)
            for level in (10, 20, 30, 40, 50):
                sigma = abs(level - 30) / 10
                blurred = cv2.GaussianBlur(image, (0, 0), sigma) if sigma else image
                cv2.imwrite(str(root / f"slide{slide}_spot{spot}_d{level}.png"), blurred)


def install(folder: Path) -> None:
    """Write what ``pip install`` leaves of a package that names its layout in the entry points."""
    described = folder / "plankton_images-1.0.dist-info"
    described.mkdir(parents=True)
    (described / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: plankton-images\nVersion: 1.0\n"
    )
    (described / "entry_points.txt").write_text(
        f"[{layouts.ENTRY_POINTS}]\nplankton = plankton_images:LAYOUT\n"
    )
    (folder / "plankton_images.py").write_text(MODULE)


@pytest.fixture
def registered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """An installed package with the layout."""
    install(tmp_path / "site-packages")
    monkeypatch.syspath_prepend(tmp_path / "site-packages")
    layouts.all_layouts.cache_clear()
    yield
    layouts.all_layouts.cache_clear()
    sys.modules.pop("plankton_images", None)


@pytest.mark.usefixtures("registered")
class TestReader(ReaderContract):
    @pytest.fixture
    def folder(self, tmp_path: Path) -> Folder:
        write_plankton(tmp_path / "plankton")
        return layouts.layout_of("plankton"), tmp_path / "plankton"


@pytest.mark.usefixtures("registered")
def test_from_raw_folder_to_a_trained_trial_and_its_score(tmp_path: Path) -> None:
    write_plankton(tmp_path / "raw")
    resolution = Resolution(32, "antialiased")
    store = prepare(
        DatasetConfig(kind="plankton"), tmp_path / "raw", tmp_path, resolutions=[resolution]
    )
    assert (store.layout.title, store.levels) == ("Plankton", [10, 20, 30, 40, 50])
    assert not store.blur_known
    split = split_by_well(store.wells, test=0.2, validation=0.2, seed=0)
    assert [len(side) for side in split.to_dict().values()] == [6, 2, 2]
    batches = EpochBatches(
        store,
        resolution,
        fields=split.train,
        patch_size=32,
        patches_per_image=None,
        batch_size=8,
        seed=0,
        epoch=0,
    )
    assert len(batches) * 8 == len(split.train) * 4  # the levels out of focus
    hyperparameters = {"family": "whole", "depth": 1, "filters": 4, "loss": "l1", "image_size": 32}
    task = TrialTask(
        hyperparameters,
        store=str(store.folder),
        folder=str(tmp_path / "trial"),
        train_fields=split.train,
        eval_fields=split.test,
        eval_split="test",
        resize="antialiased",
        evaluation_size=32,
        epochs=1,
        batch_size=8,
        patches_per_image=None,
        inference="whole",
        rung_images=0,
        rung_seed=0,
        seed=0,
        threads=1,
    )
    score = list(run_trial(task))[-1].score
    assert score is not None
    assert score.levels == [10, 20, 30, 40, 50]
    assert score.wells == [store.wells[field] for field in split.test]
    assert np.isfinite(score.evaluation["ssim"]).all()
    unrestored = score_classical(
        unrestored_input,
        store,
        resolution=resolution,
        evaluation=resolution,
        fields=split.test,
        eval_split="test",
    )
    by_level = dict(zip(score.levels, np.mean(unrestored.evaluation["ssim"], axis=0), strict=True))
    assert by_level[30] == pytest.approx(1)
    assert by_level[30] > by_level[20] > by_level[10]


@pytest.mark.usefixtures("registered")
def test_a_configuration_may_name_it(tmp_path: Path) -> None:
    write_plankton(tmp_path / "raw")
    given = ["--name", "mine", "--dataset.kind", "plankton"]
    assert parse([*given, "--dataset.root", str(tmp_path / "raw")]).dataset.kind == "plankton"
    with pytest.raises(StudyError, match="there is no simulation of Plankton"):
        parse([*given, "--dataset.simulate.wells", "5"])


def test_one_that_is_not_registered_is_refused_with_those_that_are() -> None:
    with pytest.raises(StudyError, match="bbbc005, bbbc006; got 'plankton'"):
        layouts.layout_of("plankton")
    given = ["--name", "mine", "--dataset.root", "anywhere"]
    with pytest.raises(StudyError, match=r"dataset\.kind must be one of bbbc005, bbbc006; got"):
        parse([*given, "--dataset.kind", "plankton"])
    with pytest.raises(StudyError, match=r"transfer\.kind must be one of"):
        parse([*given, "--transfer.kind", "plankton"])


@pytest.fixture
def package_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder whose modules count as modules of `study.data.layouts`."""
    monkeypatch.setattr(layouts, "__path__", [*layouts.__path__, str(tmp_path)])
    before = set(sys.modules)
    layouts.all_layouts.cache_clear()
    importlib.invalidate_caches()
    yield tmp_path
    layouts.all_layouts.cache_clear()
    for name in set(sys.modules) - before:
        del sys.modules[name]


def test_a_module_of_the_package_is_registered_by_being_there(package_folder: Path) -> None:
    (package_folder / "plankton.py").write_text(MODULE)
    assert list(layouts.all_layouts()) == ["bbbc005", "bbbc006", "plankton"]
    assert layouts.layout_of("plankton").in_focus_level == 30


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", r"study\.data\.layouts\.broken\.LAYOUT must be a study\.data\.planes\.Layout"),
        (MODULE.replace('"plankton"', '"bbbc006"'), "two layouts have the kind 'bbbc006'"),
    ],
)
def test_what_cannot_be_registered_is_named(text: str, message: str, package_folder: Path) -> None:
    (package_folder / "broken.py").write_text(text)
    with pytest.raises(StudyError, match=message):
        layouts.all_layouts()
