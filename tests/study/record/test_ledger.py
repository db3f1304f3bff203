from __future__ import annotations

import dataclasses
import itertools
import json
import math
import multiprocessing
import resource
import shutil
import signal
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock

from study.errors import StudyError
from study.record.events import StepTimed, StudyEnded
from study.record.identities import TrialId
from study.record.ledger import (
    FILE_NAME,
    LEAST_FREE_BYTES,
    LOCK_NAME,
    Ledger,
    LineReader,
    check_place,
    is_written,
    read_events,
    read_history,
    to_line,
)
from tests.study.record.made_up_events import (
    begun,
    ended,
    epoch,
    one_of_each_kind,
    reference,
    scored,
    search,
    study,
)

RUN = search(0)


def kinds(folder: Path) -> list[str]:
    return [event.kind for event in read_events(folder)]


def timed(trial: int) -> StepTimed:
    return StepTimed(trial=TrialId(trial), seconds_per_step=0.5, steps_per_epoch=3)


def test_what_was_appended_is_read_again_also_what_json_cannot_write(tmp_path: Path) -> None:
    written = list(one_of_each_kind())
    with Ledger(tmp_path) as ledger:
        for event in written:
            ledger.append(event)
    events = read_events(tmp_path)
    assert [event.row for event in events] == list(range(1, len(written) + 1))
    assert all(a.time <= b.time for a, b in itertools.pairwise(events))
    assert events[0].time > 1.7e9
    timeless = [dataclasses.replace(event, time=0.0, row=0) for event in events]
    assert repr(timeless) == repr(written)
    assert "inf" in repr(written)
    assert "nan" in repr(written)
    for line in (tmp_path / FILE_NAME).read_text().splitlines():
        json.loads(line, parse_constant=pytest.fail)  # strictly JSON


def test_the_first_event_with_a_key_wins(tmp_path: Path) -> None:
    with Ledger(tmp_path) as ledger:
        for event in (study(), begun(RUN), epoch(RUN, 1, loss=1.0), epoch(RUN, 1, loss=2.0)):
            ledger.append(event)
        ledger.append(epoch(RUN, 2, loss=3.0))
    with Ledger(tmp_path) as again:
        again.append(epoch(RUN, 1, loss=4.0))
        again.append(begun(RUN, seed=99))
    losses = {
        n: held.metrics["loss"] for n, held in read_history(tmp_path).runs[RUN].epochs.items()
    }
    assert losses == {1: 1.0, 2: 3.0}
    assert kinds(tmp_path) == ["study", "trial", "epoch", "repeat", "epoch", "repeat"]


def test_numbers_that_differ_are_kept_beside_the_first_durations_may_differ(
    tmp_path: Path,
) -> None:
    with Ledger(tmp_path) as ledger:
        for event in (study(), begun(RUN), epoch(RUN, 1, loss=0.5, seconds=1.0)):
            ledger.append(event)
        ledger.append(epoch(RUN, 1, loss=0.5, seconds=2.0))
        ledger.append(scored(RUN, 0.5))
    with Ledger(tmp_path) as ledger:
        ledger.append(epoch(RUN, 1, loss=0.5, seconds=3.0))
        ledger.append(scored(RUN, 0.5))  # nan in it is like nan
        for loss in (0.6, 0.7):
            ledger.append(epoch(RUN, 1, loss=loss, seconds=1.0))
        ledger.append(scored(RUN, 0.4))
    history = read_history(tmp_path)
    assert history.runs[RUN].epochs[1].metrics == {"loss": 0.5, "seconds": 1.0}
    assert history.runs[RUN].objective == 0.5
    repeats = [(one.of, one.epoch, one.attempt, one.instead) for one in history.repeats]
    assert repeats == [
        ("epoch", 1, 0, {"loss": 0.6, "seconds": 1.0}),
        ("epoch", 1, 1, {"loss": 0.7, "seconds": 1.0}),
        ("score", None, 0, {"ssim": 0.4, "objective": 0.4}),
    ]


def test_a_whole_number_that_is_read_as_a_float_is_the_same_number(tmp_path: Path) -> None:
    whole: dict[str, Any] = {"metrics": {"loss": 1}, "cost": {"parameters": 7}, "objective": 1}
    event = dataclasses.replace(epoch(RUN, 1), **whole)
    for _ in range(2):
        with Ledger(tmp_path) as ledger:
            for one in (study(), begun(RUN), event):
                ledger.append(one)
    assert kinds(tmp_path) == ["study", "trial", "epoch"]


def test_a_torn_last_line_is_passed_over_by_readers_and_cut_off_by_the_writer(
    tmp_path: Path,
) -> None:
    with Ledger(tmp_path) as ledger:
        ledger.append(study())
    path = tmp_path / FILE_NAME
    whole = path.read_bytes()
    path.write_bytes(whole + b'{"event": "trial", "tri')
    assert kinds(tmp_path) == ["study"]
    assert path.read_bytes() != whole
    with Ledger(tmp_path) as ledger:
        assert path.read_bytes() == whole
        ledger.append(StudyEnded(status="finished"))
    assert kinds(tmp_path) == ["study", "study_end"]
    assert [event.row for event in read_events(tmp_path)] == [1, 2]


@pytest.mark.parametrize(
    ("line", "told"),
    [
        (b"rubbish\n", r"corrupt line that ends at byte \d+: b'rubbish"),
        (b"5\n", r"corrupt line that ends at byte \d+: b'5"),
        (b'{"event": "holiday"}\n', "line 2: unknown event 'holiday'"),
        (b'{"event": "timing"}\n', "line 2: the event 'timing' .*trial: Field required"),
        (to_line(epoch(RUN, 1)), "'epoch' in line 2 is of the run search 0 0, of which"),
    ],
)
def test_a_line_in_the_middle_that_is_no_event_is_named(
    line: bytes, told: str, tmp_path: Path
) -> None:
    path = tmp_path / FILE_NAME
    path.write_bytes(to_line(study()) + line + to_line(StudyEnded(status="finished")))
    for read in (read_history, Ledger):
        with pytest.raises(StudyError, match=rf"(?s)^{path}.*{told}"):
            read(tmp_path)
    assert not is_written(tmp_path)  # the lock was given back


def test_what_could_not_be_read_again_is_not_written(tmp_path: Path) -> None:
    with Ledger(tmp_path) as ledger:
        ledger.append(study())
        with pytest.raises(StudyError, match="run search 0 0, of which no line"):
            ledger.append(epoch(RUN, 1))
        ledger.append(begun(RUN))
        wrong: dict[str, Any] = {"metrics": {"loss": "low"}}
        with pytest.raises(StudyError, match=r"metrics\.loss.*'low'"):
            ledger.append(dataclasses.replace(epoch(RUN, 1), **wrong))
        ledger.append(epoch(RUN, 1))
    assert kinds(tmp_path) == ["study", "trial", "epoch"]


def _try_to_write(folder: str, answers: multiprocessing.Queue[str]) -> None:
    try:
        with Ledger(Path(folder)):
            answers.put("opened")
    except StudyError as error:
        answers.put(str(error))


def another_process_says(folder: Path) -> str:
    context = multiprocessing.get_context("spawn")
    answers = context.Queue()
    process = context.Process(target=_try_to_write, args=(str(folder), answers))
    process.start()
    answer = str(answers.get(timeout=60))
    process.join(60)
    return answer


def test_a_second_writer_is_refused_and_seen_by_readers(tmp_path: Path) -> None:
    with Ledger(tmp_path) as ledger:
        assert "another process is running this study" in another_process_says(tmp_path)
        with pytest.raises(StudyError, match="another process is running this study"):
            Ledger(tmp_path)
        assert is_written(tmp_path)
        ledger.append(study())  # being refused and looking took nothing from the writer
    assert not is_written(tmp_path)
    assert another_process_says(tmp_path) == "opened"


def test_a_reader_that_looks_whether_it_is_written_does_not_keep_a_writer_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reader = FileLock(tmp_path / LOCK_NAME, thread_local=False)
    reader.acquire()
    waits: list[float] = []

    def let_go(seconds: float) -> None:  # while the writer waits
        waits.append(seconds)
        reader.release()

    monkeypatch.setattr(time, "sleep", let_go)
    with Ledger(tmp_path) as ledger:
        ledger.append(study())
    assert len(waits) == 1
    assert kinds(tmp_path) == ["study"]


def test_a_ledger_is_closed_by_whoever_closes_it_first(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path)
    ledger.append(study())
    other = threading.Thread(target=ledger.close)  # the lock is the ledger's, not a thread's
    other.start()
    other.join(60)
    assert not is_written(tmp_path)
    with Ledger(tmp_path):
        ledger.close()
        assert is_written(tmp_path)  # a second close takes no other's lock away
        with pytest.raises(ValueError, match="closed file"):
            ledger.append(reference())
    assert kinds(tmp_path) == ["study"]


def test_whether_it_is_written_leaves_no_file_and_says_where_it_cannot_tell(
    tmp_path: Path,
) -> None:
    assert not is_written(tmp_path / "nowhere")
    assert not is_written(tmp_path)
    assert not list(tmp_path.iterdir())
    (tmp_path / LOCK_NAME).mkdir()
    with pytest.raises(StudyError, match=rf"cannot be told: .*{LOCK_NAME}"):
        is_written(tmp_path)


def test_no_study_and_no_place_for_one(tmp_path: Path) -> None:
    with pytest.raises(StudyError, match="holds no study"):
        read_events(tmp_path)
    (tmp_path / "file").write_text("")
    with pytest.raises(StudyError, match="cannot be written"):
        Ledger(tmp_path / "file")


def _write_until_the_file_may_not_grow(folder: str, answers: multiprocessing.Queue[str]) -> None:
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2000, 2000))
    try:
        with Ledger(Path(folder)) as ledger:
            for number in range(100):
                ledger.append(timed(number))
    except StudyError as error:
        answers.put(str(error))
        with pytest.raises(StudyError, match="any more"):
            ledger.append(timed(1000))


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
    assert process.exitcode == 0
    assert "cannot be written any more" in told
    assert f"--resume {tmp_path}" in told
    assert (tmp_path / FILE_NAME).stat().st_size == 2000  # the fault fired in the middle of a line
    held = list(read_history(tmp_path).timings)
    assert held == [TrialId(number) for number in range(len(held))]
    assert len(held) > 5
    with Ledger(tmp_path) as ledger:
        ledger.append(timed(len(held)))
    assert list(read_history(tmp_path).timings)[-1] == TrialId(len(held))


def test_a_place_is_checked_before_a_study_and_left_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    check_place(tmp_path / "studies" / "new")
    assert not (tmp_path / "studies").exists()
    (tmp_path / "file").write_text("")
    with pytest.raises(StudyError, match="cannot be written"):
        check_place(tmp_path / "file" / "study")
    full = shutil.disk_usage(tmp_path)._replace(free=LEAST_FREE_BYTES - 1)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: full)
    with pytest.raises(StudyError, match=r"full: 99 MiB are free.*--storage"):
        check_place(tmp_path / "new")


def test_lines_are_read_as_they_come(tmp_path: Path) -> None:
    events = [study(), begun(RUN), epoch(RUN, 1, math.inf), scored(RUN), ended(RUN)]
    data = b"".join(map(to_line, events))
    for step in (1, 100, len(data)):
        reader, held = LineReader(tmp_path / FILE_NAME), []
        for end in range(step, len(data) + step, step):
            # a reader of a file goes on where the last whole line ended
            held += list(reader.read(data[reader.offset : end]))
        rowless = [dataclasses.replace(event, row=0) for event, _ in held]
        assert repr(rowless) == repr(events)
        assert [event.row for event, _ in held] == [1, 2, 3, 4, 5]
        ends = [len(b"".join(map(to_line, events[:count]))) for count in range(1, 6)]
        assert [offset for _, offset in held] == ends
