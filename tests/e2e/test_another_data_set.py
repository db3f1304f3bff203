"""A data set that the program has never heard of, from its raw folder to the report: one file with
a `Layout`, and nothing else touched.
"""

from __future__ import annotations

import html
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from study.record.ledger import read_history
from tests.contracts.test_third_data_set import install, write_plankton
from tests.programs import ROOT, SMALL, TINY_RUN

pytestmark = pytest.mark.slow


def test_a_study_of_another_data_set_ends_with_its_report(tmp_path: Path) -> None:
    install(tmp_path / "site-packages")
    write_plankton(tmp_path / "raw")
    options = [*SMALL, "--name", "plankton", "--storage", str(tmp_path), "--without-mlflow"]
    options += ["--dataset.kind", "plankton", "--dataset.root", str(tmp_path / "raw")]
    options += ["--dataset.simulate.wells", "0", "--dataset.levels", "null"]
    environment = {key: text for key, text in os.environ.items() if key != "RAY_ADDRESS"}
    done = subprocess.run(
        [sys.executable, str(TINY_RUN), *options],
        env=environment | {"PYTHONPATH": str(tmp_path / "site-packages")},
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    folder = tmp_path / "studies" / "plankton"
    history = read_history(folder)
    assert history.study.images.title == "Plankton"
    assert history.study.store.levels == [10, 20, 30, 40, 50]
    assert history.problems() == []
    assert "Plankton: means over" in done.stdout
    assert all(level in done.stdout for level in ("d 20", "d 10", "d 50"))
    page = (folder / "report.html").read_text()
    report = html.unescape(re.sub(r"base64,[\w+/=]+", "", page))  # without its pictures
    assert "distance (mm; 30 is in focus)" in report
    outcome, _, rest = report.partition("<h1>")[2].partition('id="paper"')
    assert "Plankton: means over" in outcome
    assert "BBBC" not in outcome
    assert "The paper has no numbers of Plankton" in rest
    headings = re.findall(r"<h\d[^>]*>([^<]*)", rest)
    assert {"Averages", "By distance"} <= set(headings)  # not: Table 1: averages
    assert not any(heading.startswith("Table") for heading in headings)
    assert "Inconsistencies in the paper" not in rest
    assert not list((folder / "tables").glob("paper_table_*"))
