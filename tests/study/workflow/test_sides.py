"""A study that starts warm from another is not tested on what that one saw."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from study.config import DatasetConfig, SearchConfig, SimulateConfig, StudyConfig, derive_seed
from study.data.splits import Split, split_by_well
from study.errors import StudyError
from study.planning.sample import count_images
from study.workflow.sides import divide_fields
from tests.study.record.made_up_events import study, write_events

FIELDS = [f"field {number}" for number in range(10)]
WELLS = [f"well {number}" for number in range(10)]


def write_earlier(folder: Path, *, kind: str = "bbbc006", **sides: list[str]) -> str:
    """Write a study of a split; return its folder."""
    begun = study(folder.name)
    store = replace(begun.store, kind=kind)
    return str(write_events(folder, [replace(begun, store=store, split=sides)]))


def divide(folder: str | None, seed: int = 0, **how: Any) -> tuple[Split, str | None, list[str]]:
    lines: list[str] = []
    config = StudyConfig(seed=seed, search=SearchConfig(warm_start=folder))
    fields = how.get("fields", FIELDS)
    sides = divide_fields(config, fields, WELLS[: len(fields)], lines.append)
    return sides.split, sides.inherited_from, lines


def own_split(seed: int, count: int = 10) -> Split:
    return split_by_well(WELLS[:count], test=0.2, validation=0.16, seed=derive_seed(seed, "split"))


def names(split: Split) -> dict[str, list[str]]:
    return {side: [FIELDS[index] for index in held] for side, held in split.to_dict().items()}


def test_another_seed_is_not_tested_on_what_the_earlier_study_saw(tmp_path: Path) -> None:
    there = own_split(0)
    folder = write_earlier(tmp_path / "earlier", **names(there))
    assert own_split(1).test != there.test
    split, inherited, lines = divide(folder, seed=1)
    assert split == there
    assert inherited == folder
    assert lines == [f"split inherited from {folder}: 6 train, 2 validation, 2 test fields"]
    assert divide(folder, seed=0) == (there, None, [])  # its own draw is the same
    assert divide(None, seed=1) == (own_split(1), None, [])


def test_a_part_of_the_earlier_fields_keeps_its_sides(tmp_path: Path) -> None:
    sides = {"train": FIELDS[4:], "validation": FIELDS[2:4], "test": FIELDS[:2]}
    folder = write_earlier(tmp_path / "earlier", **sides)
    split, _, _ = divide(folder, fields=[FIELDS[1], FIELDS[3], FIELDS[5], FIELDS[7]])
    assert split == Split(train=[2, 3], validation=[1], test=[0])
    with pytest.raises(StudyError, match=r"on the side test\. Use the same fields"):
        divide(folder, fields=FIELDS[3:])


def test_fields_of_which_the_earlier_study_saw_some_that_are_tested_are_refused(
    tmp_path: Path,
) -> None:
    test = own_split(3).test
    there = [FIELDS[index] for index in test]
    folder = write_earlier(tmp_path / "earlier", train=there, validation=[], test=["another"])
    with pytest.raises(StudyError) as error:
        divide(folder, seed=3)
    assert f"on 2 of the 2 test fields of this study ({there[0]}, {there[1]})" in str(error.value)
    assert "dataset.max_fields" in str(error.value)
    trained = [FIELDS[index] for index in own_split(3).train]
    harmless = write_earlier(tmp_path / "other", train=trained, validation=[], test=["another"])
    assert divide(harmless, seed=3) == (own_split(3), None, [])
    elsewhere = write_earlier(
        tmp_path / "set", kind="bbbc005", train=there, validation=[], test=["another"]
    )
    assert divide(elsewhere, seed=3) == (own_split(3), None, [])


def test_what_the_study_before_the_earlier_one_saw_is_not_tested_on_either(tmp_path: Path) -> None:
    first = write_earlier(tmp_path / "first", train=FIELDS[:2], validation=[], test=["another"])
    begun = study("second", search=SearchConfig(warm_start=first))
    sides = {"train": FIELDS[4:], "validation": FIELDS[2:4], "test": FIELDS[:2]}
    second = str(write_events(tmp_path / "second", [replace(begun, split=sides)]))
    with pytest.raises(StudyError, match="on 2 of the 2 test fields"):
        divide(second)
    (tmp_path / "first" / "ledger.jsonl").unlink()
    split, inherited, lines = divide(second)
    assert (split.test, inherited) == ([0, 1], second)
    assert "first is not there any more" in lines[0]


def test_a_plan_divides_fields_as_the_study_will(raw_folder: Path, tmp_path: Path) -> None:
    config = StudyConfig(dataset=DatasetConfig(root=str(raw_folder)))
    fields = [f"a0{well}_s{site}" for well in range(1, 6) for site in (1, 2)]
    drawn = count_images(config, print).split
    turned = {
        "train": [fields[index] for index in [*drawn.test, *drawn.train[2:]]],
        "validation": [fields[index] for index in drawn.validation],
        "test": [fields[index] for index in drawn.train[:2]],
    }
    folder = write_earlier(tmp_path / "earlier", **turned)
    warm = replace(config, search=SearchConfig(warm_start=folder))
    assert count_images(warm, print).split.test == drawn.train[:2]
    missing = write_earlier(tmp_path / "part", train=turned["train"], validation=[], test=[])
    refused = replace(config, search=SearchConfig(warm_start=missing))
    with pytest.raises(StudyError, match="trained or chose on 2 of the 2 test fields"):
        count_images(refused, print)
    lines: list[str] = []
    unknown = replace(
        refused, storage=str(tmp_path), dataset=DatasetConfig(simulate=SimulateConfig(wells=5))
    )
    count_images(unknown, lines.append)
    assert "not simulated yet" in lines[0]
