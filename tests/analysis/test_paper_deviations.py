from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from analysis.load import load_study
from analysis.paper_deviations import deviations, not_comparable, transfer_deviations
from analysis.reproduced_tables import average_table
from study.config import StudyConfig, TrainingConfig
from tests.made_up_study import FAITHFUL, WHOLE, Truth, make_study


def changed(part: str | None = None, **values: Any) -> StudyConfig:
    """The faithful configuration with some values of a part changed."""
    if part is None:
        return dataclasses.replace(FAITHFUL, **values)
    return dataclasses.replace(
        FAITHFUL, **{part: dataclasses.replace(getattr(FAITHFUL, part), **values)}
    )


@pytest.mark.parametrize(
    ("truth", "family", "reason"),
    [
        (Truth(), "split", ""),
        (Truth(simulated="by a Gaussian"), "split", "simulated"),
        (Truth(config=changed(scaled_down=True)), "whole", "scaled down"),
        (
            Truth(config=changed("dataset", resize="antialiased")),
            "whole",
            "resized by area mean",
        ),
        (
            Truth(config=changed("dataset", normalisation="pair")),
            "whole",
            "normalised by the pair",
        ),
        (Truth(config=changed("dataset", channel="w2")), "whole", "channel w2"),
        (Truth(config=changed("training", epochs=2)), "whole", "2 epochs"),
        (Truth(config=changed("training", batch_size=4)), "whole", "batches of 4"),
        (Truth(config=changed("confirm", seconds=9.0)), "whole", "trained for equal seconds"),
        (
            Truth(config=changed("training", patches_per_image=1)),
            "split",
            "patches were sampled",
        ),
        (Truth(config=changed("training", patches_per_image=1)), "whole", ""),
        (Truth(config=changed("evaluation", inference="whole")), "split", "not stitched"),
        (Truth(kind="plankton"), "whole", "the paper has no numbers of PLANKTON"),
    ],
)
def test_a_number_is_judged_only_where_it_was_made_as_the_papers(
    truth: Truth, family: str, reason: str, tmp_path: Path
) -> None:
    make_study(tmp_path, dataclasses.replace(truth, searched=False))
    study = load_study(tmp_path)
    assert not_comparable(study, family, average=True) == reason
    judged = {str(verdict) for verdict in average_table(study)["verdict"]}
    assert (f"not comparable: {reason}" in judged) == (bool(reason) and truth.kind == "bbbc006")


def test_what_deviates_is_said(tmp_path: Path) -> None:
    faithful = make_study(tmp_path / "faithful", Truth()).study
    assert faithful.images.fields["train"] == 758
    sentences = deviations(load_study(tmp_path / "faithful"))
    assert len(sentences) == 2  # the split by well, and the size that the paper does not state
    config = dataclasses.replace(
        changed("dataset", resize="antialiased"),
        scaled_down=True,
        training=TrainingConfig(epochs=2, patches_per_image=3),
    )
    make_study(tmp_path / "other", Truth(config=config, simulated="procedural nuclei"))
    text = " ".join(deviations(load_study(tmp_path / "other")))
    for expected in (
        "procedural nuclei",
        "No claim may rest",
        "area mean",
        "2 epochs instead of 50",
        "3 sampled patch(es)",
        "instead of all 36",
    ):
        assert expected in text


def test_what_deviates_in_a_transfer_is_said(tmp_path: Path) -> None:
    make_study(tmp_path, Truth(lost={WHOLE.label: 0.1}, simulated="by a Gaussian"))
    other = load_study(tmp_path).transfer
    assert other is not None
    assert transfer_deviations(other) == [
        "10 scenes at 15 blur levels; the paper averages 9,000 images of 15.",
        "The networks were trained on simulated planes: by a Gaussian.",
    ]


def test_a_data_set_that_the_paper_does_not_have(tmp_path: Path) -> None:
    make_study(tmp_path, Truth(kind="plankton"))
    assert deviations(load_study(tmp_path))[0] == "The paper has no numbers of PLANKTON."
