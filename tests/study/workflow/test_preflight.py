"""What must hold before a study begins."""

from __future__ import annotations

from typing import Any

import pytest

from study.config import SearchConfig, StudyConfig
from study.data.splits import Split
from study.data.store import Store
from study.errors import StudyError
from study.workflow.preflight import check_sides


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
