"""Made-up studies that tests only read, written once."""

from __future__ import annotations

import html

import pytest

from analysis.load import Study, load_study
from analysis.paper_figures import EXAMPLES, TRANSFER_EXAMPLES
from analysis.report import write_report
from tests.made_up_scores import write_examples
from tests.made_up_study import (
    BLURS,
    SEARCHED,
    SHAPE,
    SPLIT,
    WHOLE,
    Truth,
    make_study,
)


@pytest.fixture(scope="session")
def complete(tmp_path_factory: pytest.TempPathFactory) -> Study:
    """A study with a search, a confirmation, a transfer, the seams, the leak and examples, in which
    trial 0002 is .05 better than the better baseline, which is the split-image network.
    """
    folder = tmp_path_factory.mktemp("studies") / "complete"
    ssim = {WHOLE.label: 0.65, SPLIT.label: 0.7, SEARCHED.label: 0.75}
    lost = {WHOLE.label: 0.1, SPLIT.label: 0.3, SEARCHED.label: 0.1}
    history = make_study(folder, Truth(ssim=ssim, unrestored=0.4, lost=lost, leak_by=0.02))
    for run in history.runs.values():
        place, size = folder / "trials" / run.id.file_name, 32 if run.label == SPLIT.label else 16
        write_examples(place, list(SHAPE), size=size, name=EXAMPLES)
        write_examples(place, list(BLURS), size=size, name=TRANSFER_EXAMPLES)
        (place / "weights.npz").touch()
    return load_study(folder)


@pytest.fixture(scope="session")
def page(complete: Study) -> str:
    """The report of it."""
    return html.unescape(write_report(complete).read_text(encoding="utf-8"))
