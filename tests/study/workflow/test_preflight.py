"""What must hold before a study begins."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from study.config import ConfirmConfig, SearchConfig, StudyConfig
from study.data.splits import Split
from study.data.store import FORMAT, Store
from study.errors import StudyError
from study.record.history import History
from study.record.identities import Role
from study.workflow.preflight import check_budgets, check_folder, check_sides
from tests.study.record.made_up_events import begun, confirm, finished, study, write_events


def test_an_objective_of_every_level_asks_for_a_score_of_every_level(store: Store) -> None:
    levels = len(store.defocused_indices)

    def check(**search: Any) -> None:
        check_sides(store, Split([0], [1], [2]), StudyConfig(search=SearchConfig(**search)))

    for objective in ("penalized_ssim", "worst_psnr"):
        with pytest.raises(
            StudyError,
            match=f"would leave out 1 of the {levels} levels: take search.rung_images {levels}",
        ):
            check(objectives=[objective], rung_images=levels - 1)
        check(objectives=[objective], rung_images=levels)
        check(objectives=[objective], rung_images=1, scheduler="none")
    check(objectives=["ssim"], rung_images=1)


@pytest.mark.parametrize("written", [1, 99])
def test_a_study_whose_images_another_version_prepared_is_not_resumed(
    written: int, tmp_path: Path
) -> None:
    images = tmp_path / "stores" / "bbbc005-0"
    images.mkdir(parents=True)
    (images / "store.json").write_text(json.dumps({"format": written}))
    begun = study("other")
    write_events(
        tmp_path / "studies" / "other",
        [replace(begun, store=replace(begun.store, folder=str(images)))],
    )
    config = StudyConfig(name="other", storage=str(tmp_path))
    with pytest.raises(
        StudyError, match=rf"{images} in the store format {written}, this one uses {FORMAT}"
    ):
        check_folder(config, resume=True)
    (images / "store.json").write_text(json.dumps({"format": FORMAT}))
    assert check_folder(config, resume=True) is not None
    (images / "store.json").unlink()  # prepared again when it is resumed
    assert check_folder(config, resume=True) is not None


@pytest.mark.parametrize(
    ("key", "changed"),
    [
        ("confirm.margin", ConfirmConfig(margin=0.5)),
        ("confirm.splits", ConfirmConfig(splits=3)),
        ("confirm.replicates", ConfirmConfig(splits=3, replicates=5)),
        ("confirm.steps", ConfirmConfig(steps=7)),
    ],
)
def test_what_a_verdict_rests_on_is_fixed_once_it_could_be_seen(
    key: str, changed: ConfirmConfig
) -> None:
    """Which split a replicate is of hangs on how many replicates a split has."""
    run = confirm(0)
    history = History([study(), begun(run, Role.BASELINE, eval_split="test"), *finished(run, 0.5)])
    config = replace(history.config, confirm=changed)
    with pytest.raises(StudyError, match=f"{key} was .*, and is to be"):
        check_budgets(history, config)
    check_budgets(history, history.config)
    more = replace(history.config, confirm=ConfirmConfig(replicates=5))
    check_budgets(history, more)  # of one split
