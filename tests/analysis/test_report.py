from __future__ import annotations

import dataclasses
import html
import json
import re
from html.parser import HTMLParser
from pathlib import Path

import pandas as pd
import pytest

from analysis.endpoint import median_replicate
from analysis.load import Study, load_study
from analysis.page import Bullets, Fold, Heading, Paragraph, Table, render_page
from analysis.paper_report import result_tables
from analysis.report import main, outcome_text, write_report
from study.errors import StudyError
from study.record.events import Event
from study.record.identities import TrialId
from study.record.ledger import FILE_NAME, Ledger
from study.score import Score
from tests.made_up_study import SEARCHED, SPLIT, WHOLE, Truth, begun, make_study, study_events

LABELS = [WHOLE.label, SPLIT.label, SEARCHED.label]


def test_the_report_is_one_file_with_all_that_was_asked_for(page: str, complete: Study) -> None:
    for text in (
        *LABELS,
        "unrestored input (test)",
        "abc123",
        "opened 1 time",
        "Table 1: averages",
        "Table 3-4: by z-plane",
        "Table 2: averages",
        "Table 5: by blur level F",
        "Figure 2 of the paper",
        "Figure 3 of the paper",
        "RQ1",
        "RQ2",
        "The paper’s claims",
        "bordering effect of stitching",
        "split leaks",
        "trial 0002 less every other",
        "The upper bound at each image size",
        "right shape, mean scale at 128 px (test)",
        "SI-PSNR (dB)",
        "SI-SSIM at every level",
    ):
        assert text in page, text
    outside = r'<(?:script|link|img|iframe)[^>]+(?:src|href)="(?!data:)'
    assert re.findall(outside, page) == []
    # SSIM and PSNR at the evaluation resolution and at own size, here and there; the search and its
    # front; pictures with a slider, here and there
    assert page.count('class="plotly-graph-div"') == 8 + 2 + 2
    stills = len(re.findall(r'<img [^>]+src="data:image/png;base64,', page))
    assert stills == len(list((complete.folder / "figures").glob("*.png")))


def test_the_papers_pictures_are_made_again(page: str, complete: Study) -> None:
    for number in ("4", "5", "6", "9"):
        assert f"Figure {number} of the paper made again" in page
        assert (complete.folder / "figures" / f"figure-{number}.png").is_file()
    assert complete.transfer is not None
    here, there = (median_replicate(study, WHOLE.label) for study in (complete, complete.transfer))
    assert here > 0  # the first seed is not the median
    assert f"confirm-0000-{here}/examples.npz" in page
    assert f"confirm-0000-{there}/transfer_examples.npz" in page


def test_every_table_names_its_ledger_rows_and_the_rows_hold_the_numbers(
    page: str, complete: Study
) -> None:
    lines = (complete.folder / FILE_NAME).read_text().splitlines()
    here = page[: page.index('id="transfer"')]
    named = {
        (label, int(seed)): int(row)
        for row, label, seed in re.findall(r"(\d+) \(([^(),]+), seed (\d)\)", here)
        if label in LABELS
    }
    assert len(named) == 9  # three configurations, three seeds
    trials = {network.label: network.trial for network in (WHOLE, SPLIT, SEARCHED)}
    for (label, seed), row in named.items():
        event = json.loads(lines[row - 1])
        assert (event["event"], event["phase"], event["replicate"]) == ("score", "confirm", seed)
        assert TrialId.parse(event["trial"]) == trials[label]


def test_the_same_ledger_gives_the_same_bytes(page: str, complete: Study) -> None:
    def files() -> dict[str, bytes]:
        tables = (complete.folder / "tables").iterdir()
        return {path.name: path.read_bytes() for path in (complete.folder / "report.html", *tables)}

    first = files()
    assert html.unescape(first["report.html"].decode()) == page
    assert len(first) > 6
    write_report(load_study(complete.folder))
    assert files() == first


def test_the_tables_are_files(page: str, complete: Study) -> None:
    names = {path.stem for path in (complete.folder / "tables").glob("*.csv")}
    assert names == {"outcome", "images", "trials", "epochs", *result_tables(complete)}
    assert {
        "paper_table_1",
        "paper_table_3-4",
        "transfer_paper_table_2",
        "transfer_paper_table_5",
        "stitching",
        "claims",
        "in_focus",
    } <= names
    outcome = pd.read_csv(complete.folder / "tables" / "outcome.csv")
    assert outcome["role"].tolist()[:2] == ["winner", "baseline"]
    assert outcome["trial"].tolist()[:3] == [2, 1, 0]
    claims = pd.read_csv(complete.folder / "tables" / "claims.csv")
    assert set(claims["agrees"]) <= {"agrees", "differs", "differs in size", "open", "not measured"}


def test_the_outcome_in_a_terminal(complete: Study) -> None:
    text = outcome_text(complete)
    for title in (
        "SI-SSIM",
        "SI-PSNR (dB)",
        "GFLOP an image",
        "ms an image",
        "training (s)",
        "z 32",
    ):
        assert title in text
    assert re.search(r"trial 0002 \(winner of the search\) .* 102 +0.25 +4.5 +10", text)
    assert "trial 0002: family whole, depth 4, image size 128" in text
    assert "better than the better baseline" in text
    assert "on test, where it was confirmed: " in text


def test_of_a_data_set_that_the_paper_does_not_have_there_is_a_report_too(tmp_path: Path) -> None:
    make_study(tmp_path, Truth(kind="plankton", searched=False))
    study = load_study(tmp_path)
    page = html.unescape(write_report(study).read_text(encoding="utf-8"))
    assert "The paper has no numbers of PLANKTON." in page
    assert "Table 1: averages" not in page
    assert "<h3>Averages</h3>" in page
    assert {"averages", "levels"} <= set(result_tables(study))
    assert "Averages (each network at its own size)" in outcome_text(study)


def test_an_unfinished_study_is_reported_from_the_command_line_with_what_to_beware_of(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lost = {WHOLE.label: 0.1}
    make_study(
        tmp_path, Truth(collapsed={SPLIT.label: range(3)}, ended=False, searched=False, lost=lost)
    )
    assert main([str(tmp_path)]) == 0
    assert f"report: {tmp_path / 'report.html'}" in capsys.readouterr().out
    page = html.unescape((tmp_path / "report.html").read_text(encoding="utf-8"))
    top = page[: page.index("<nav>")]
    assert "Not complete: the study has not ended" in top
    assert f"3 of 3 seeds of {SPLIT.label} collapsed" in top


def test_where_there_is_nothing_to_report_it_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([str(tmp_path / "nothing")]) == 2
    assert "holds no study" in capsys.readouterr().err
    with Ledger(tmp_path / "begun") as ledger:
        ledger.append(begun(Truth()))
    with pytest.raises(StudyError, match="nothing to report yet"):
        write_report(load_study(tmp_path / "begun"))


class _Text(HTMLParser):
    """Collects the tags and the texts of a page."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.texts: list[str] = []

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self.tags.append(tag)

    def handle_data(self, data: str) -> None:
        self.texts.append(data.strip())


def test_a_text_never_becomes_a_tag() -> None:
    text = '<i>&"x"</i>'
    rows = pd.DataFrame({text: [text]})
    blocks = [Heading(text, text), Paragraph(text, "note"), Bullets([text]), Table(rows)]
    page = _Text()
    page.feed(render_page(text, [*blocks, Fold(text, [Heading(text)])]))
    assert "i" not in page.tags
    # title twice, heading, paragraph, bullet, a column's name and its cell, summary, heading
    assert page.texts.count(text) == 9


def test_a_study_from_before_the_scale_invariant_scores_is_reported_without_them(
    tmp_path: Path,
) -> None:
    def older(event: Event) -> Event:
        if not isinstance(event, Score):
            return event
        held = {
            name: {metric: of for metric, of in values.items() if not metric.startswith("si_")}
            for name, values in (("evaluation", event.evaluation), ("summary", event.summary))
        }
        return dataclasses.replace(event, **held)

    with Ledger(tmp_path) as ledger:
        for event in study_events(Truth()):
            ledger.append(older(event))
    study = load_study(tmp_path)
    page = write_report(study).read_text(encoding="utf-8")
    assert "SSIM at every level" in page
    assert "SI-SSIM at every level" not in page
    assert "<th>SI-" not in page
    assert "SI-" not in outcome_text(study)
    outcome = pd.read_csv(tmp_path / "tables" / "outcome.csv")
    assert outcome["si_psnr"].isna().all()
    assert outcome["psnr"].notna().all()
