from __future__ import annotations

import json
import math
import multiprocessing
import resource
import shutil
import signal
from pathlib import Path

import pytest

from study.errors import StudyError
from study.record.ledger import (
    FILE_NAME,
    FORMAT,
    LEAST_FREE_BYTES,
    Ledger,
    check_place,
    read_events,
)


def test_what_was_appended_is_read_again_also_what_json_can_not_write(tmp_path: Path) -> None:
    with Ledger(tmp_path) as ledger:
        ledger.append(
            "reference",
            reference="unrestored input",
            values=[1.5, math.inf, math.nan],
            nested={"a": -math.inf},
        )
    event = read_events(tmp_path)[0]
    assert event["values"][:2] == [1.5, math.inf]
    assert math.isnan(event["values"][2])
    assert event["nested"]["a"] == -math.inf
    json.loads((tmp_path / FILE_NAME).read_text(), parse_constant=pytest.fail)  # strictly JSON


def test_the_first_event_with_a_key_wins(tmp_path: Path) -> None:
    key = {"phase": "search", "trial": 1, "replicate": 0, "epoch": 1}
    with Ledger(tmp_path) as ledger:
        ledger.append("epoch", **key, metrics={"loss": 1.0})
        ledger.append("epoch", **key, metrics={"loss": 2.0})
        ledger.append("epoch", **(key | {"epoch": 2}), metrics={"loss": 3.0})
    with Ledger(tmp_path) as again:
        again.append("epoch", **key, metrics={"loss": 4.0})
    assert [
        event["metrics"]["loss"] for event in read_events(tmp_path) if event["event"] == "epoch"
    ] == [1.0, 3.0]


def test_a_torn_last_line_is_passed_over_by_readers_and_cut_off_by_the_writer(
    tmp_path: Path,
) -> None:
    with Ledger(tmp_path) as ledger:
        ledger.append("study", name="x")
    path = tmp_path / FILE_NAME
    whole = path.read_bytes()
    path.write_bytes(whole + b'{"event": "trial", "tri')
    assert len(read_events(tmp_path)) == 1
    assert path.read_bytes() != whole
    with Ledger(tmp_path) as ledger:
        assert path.read_bytes() == whole
        ledger.append("study_end", status="finished")
    assert [event["event"] for event in read_events(tmp_path)] == ["study", "study_end"]


def test_a_corrupt_line_in_the_middle_is_named(tmp_path: Path) -> None:
    (tmp_path / FILE_NAME).write_bytes(b'{"event": "study"}\nrubbish\n{"event": "study_end"}\n')
    with pytest.raises(StudyError, match=r"byte 27.*rubbish"):
        read_events(tmp_path)


def _try_to_write(folder: str, answers: multiprocessing.Queue) -> None:  # type: ignore[type-arg]
    try:
        with Ledger(Path(folder)):
            answers.put("opened")
    except StudyError as error:
        answers.put(str(error))


def test_a_second_process_is_refused(tmp_path: Path) -> None:
    def another_process_says() -> str:
        context = multiprocessing.get_context("spawn")
        answers = context.Queue()
        process = context.Process(target=_try_to_write, args=(str(tmp_path), answers))
        process.start()
        answer = str(answers.get(timeout=60))
        process.join()
        return answer

    with Ledger(tmp_path):
        assert "another process is running this study" in another_process_says()
    assert another_process_says() == "opened"


def test_no_study_and_no_place_for_one(tmp_path: Path) -> None:
    with pytest.raises(StudyError, match="holds no study"):
        read_events(tmp_path)
    (tmp_path / "file").write_text("")
    with pytest.raises(StudyError, match="cannot be written"):
        Ledger(tmp_path / "file")


@pytest.mark.parametrize(("written", "told"), [(FORMAT + 1, "a newer"), (FORMAT - 1, "an older")])
def test_a_ledger_of_another_version_is_refused(written: int, told: str, tmp_path: Path) -> None:
    (tmp_path / "ledger.jsonl").write_text(
        json.dumps({"event": "study", "time": 0, "format": written}) + "\n"
    )
    with pytest.raises(StudyError, match=f"written by {told} version"):
        read_events(tmp_path)
    with pytest.raises(StudyError, match=f"has format {written}"):
        Ledger(tmp_path)


def _write_until_the_file_may_not_grow(folder: str, answers: multiprocessing.Queue) -> None:  # type: ignore[type-arg]
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2000, 2000))
    try:
        with Ledger(Path(folder)) as ledger:
            for number in range(100):
                ledger.append("timing", trial=number, text="x" * 90)
    except StudyError as error:
        answers.put(str(error))


def test_a_disk_that_fills_up_ends_with_what_to_do_and_what_was_written_stays(
    tmp_path: Path,
) -> None:
    context = multiprocessing.get_context("spawn")
    answers = context.Queue()
    process = context.Process(
        target=_write_until_the_file_may_not_grow, args=(str(tmp_path), answers)
    )
    process.start()
    told = answers.get(timeout=60)
    process.join(60)
    assert "cannot be written any more" in told
    assert f"--resume {tmp_path}" in told
    assert (tmp_path / FILE_NAME).stat().st_size == 2000  # the fault fired in the middle of a line
    held = read_events(tmp_path)
    assert [event["trial"] for event in held] == list(range(len(held)))
    assert len(held) > 5
    with Ledger(tmp_path) as ledger:
        ledger.append("timing", trial=len(held))
    assert read_events(tmp_path)[-1]["trial"] == len(held)


def test_a_place_is_checked_before_a_study_and_left_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    check_place(tmp_path / "studies" / "new")
    assert not (tmp_path / "studies" / "new").exists()
    (tmp_path / "file").write_text("")
    with pytest.raises(StudyError, match="cannot be written"):
        check_place(tmp_path / "file" / "study")
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / FILE_NAME).write_text(
        '{"event":"study","time":0,"format":2}\nnot json\n{"event":"resumed","time":0,"run":1}\n'
    )
    with pytest.raises(StudyError, match="corrupt line"):
        check_place(tmp_path / "broken")
    full = shutil.disk_usage(tmp_path)._replace(free=LEAST_FREE_BYTES - 1)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: full)
    with pytest.raises(StudyError, match=r"full: 99 MiB are free.*--storage"):
        check_place(tmp_path / "new")


def test_numbers_that_come_out_otherwise_are_kept_beside_the_first(tmp_path: Path) -> None:
    key = {"phase": "search", "trial": 0, "replicate": 0, "epoch": 1}
    with Ledger(tmp_path) as ledger:
        ledger.append("epoch", **key, metrics={"loss": 0.5, "seconds": 1.0})
        ledger.append(
            "epoch", **key, metrics={"loss": 0.5, "seconds": 2.0}
        )  # the same but for its duration
    with Ledger(tmp_path) as ledger:
        ledger.append("epoch", **key, metrics={"loss": 0.5, "seconds": 3.0})
        for loss in (0.6, 0.7):
            ledger.append("epoch", **key, metrics={"loss": loss, "seconds": 1.0})
    events = read_events(tmp_path)
    assert [event["event"] for event in events] == ["epoch", "repeat", "repeat"]
    assert events[0]["metrics"]["loss"] == 0.5
    assert [
        (event["of"], event["attempt"], event["instead"]["metrics"]["loss"]) for event in events[1:]
    ] == [
        (["epoch", "search", 0, 0, 1], 0, 0.6),
        (["epoch", "search", 0, 0, 1], 1, 0.7),
    ]
