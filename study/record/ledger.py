"""The ledger: an append-only file of everything a study learns, one JSON object a line. It is the
truth.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout
from pydantic_core import from_json

from study.errors import StudyError
from study.record.events import (
    EpochEnded,
    Event,
    NumbersDiffered,
    StudyBegun,
    StudyResumed,
    TrialScored,
    from_values,
    to_values,
)
from study.record.history import History
from study.record.older import FORMAT, check_format, convert

FILE_NAME = "ledger.jsonl"
LOCK_NAME = ".ledger.lock"
LEAST_FREE_BYTES = 100 * 2**20
LOOKED_AT_S = 0.25  # `is_written` holds the lock for less
# what differs from one time to another
DURATIONS = (
    "time",
    "seconds",
    "rung_seconds",
    "training_seconds",
    "latency_ms",
    "record_seconds",
)


class Ledger:
    """The writing side; one at a time, under a lock.

    Parameters
    ----------
    folder : Path
        The study's folder.

    Attributes
    ----------
    history : History
        All that the ledger holds, kept up to date.
    seconds : float
        What writing took.
    broken : str
        Why nothing can be written any more; empty if it can.

    Raises
    ------
    StudyError
        If another process writes to it, or it cannot be written.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / FILE_NAME
        self._lock = FileLock(folder / LOCK_NAME, thread_local=False)
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._lock.acquire(timeout=LOOKED_AT_S, poll_interval=LOOKED_AT_S / 5)
            self._file = self.path.open("ab")
        except Timeout:
            raise StudyError(
                f"another process is running this study: it holds the lock of {self.path}"
            ) from None
        except OSError as error:
            self._lock.release()
            raise StudyError(
                f"the ledger {self.path} cannot be written: {error.strerror}. Choose another"
                " --storage"
            ) from None
        try:
            _mend(self.path)
            reader, data = LineReader(self.path), self.path.read_bytes()
            self.history = _index([event for event, _ in reader.read(data)], self.path)
        except BaseException:
            self.close()
            raise
        self._format, self._rows = reader.format, reader.rows
        self.seconds = 0.0
        self.broken = ""

    def append(self, event: Event) -> None:
        """Write one event to the disk, unless one with its key is there, before anything else may
        hear of it.

        An epoch or a score that is there already with other numbers is kept as `NumbersDiffered`;
        the first stands. An event that could not be read again is refused, not written.
        """
        started = time.perf_counter()
        event = self._as_repeat(event)
        if self.history.known(event) is None:
            self._check_format(event)
            line = to_line(dataclasses.replace(event, time=time.time()))
            event = from_values(from_json(line), row=self._rows + 1)
            self.history.run_of(event)  # which may not have begun
            self._write(line)
            self._rows += 1
            self.history.add(event)
        self.seconds += time.perf_counter() - started

    def close(self) -> None:
        """Give the lock back; nothing can be appended any more."""
        with contextlib.suppress(OSError):  # what could not be written is told where it was to be
            self._file.close()
        self._lock.release()

    def _as_repeat(self, event: Event) -> Event:
        """Return what is kept of an event whose key is there already with other numbers."""
        known = self.history.known(event)
        if known is None or not isinstance(event, EpochEnded | TrialScored):
            return event
        if _timeless(to_values(event)) == _timeless(to_values(known)):
            return event
        epoch = event.epoch if isinstance(event, EpochEnded) else None
        run = event.run
        attempts = sum(
            (one.run, one.of, one.epoch) == (run, event.kind, epoch) for one in self.history.repeats
        )
        return NumbersDiffered(
            phase=event.phase,
            trial=event.trial,
            replicate=event.replicate,
            of=event.kind,
            epoch=epoch,
            attempt=attempts,
            instead=event.metrics if isinstance(event, EpochEnded) else event.summary,
        )

    def _check_format(self, event: Event) -> None:
        """Let a resumption alone follow what an older version wrote: it says the format of what
        comes behind it.
        """
        if isinstance(event, StudyResumed):
            self._format = event.format
        elif self._format != FORMAT:
            raise StudyError(
                f"{self.path} has format {self._format}, written by an older version of this"
                " program: resume the study before anything is added to it"
            )

    def _write(self, line: bytes) -> None:
        if self.broken:
            raise StudyError(self.broken)
        try:
            self._file.write(line)
            self._file.flush()
            os.fsync(self._file.fileno())
        except OSError as error:
            self.broken = (
                f"the ledger {self.path} cannot be written any more: {error.strerror}. It holds all"
                " that was learned until then: make room, and resume with --resume"
                f" {self.path.parent}"
            )
            raise StudyError(self.broken) from None

    def __enter__(self) -> Ledger:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def to_line(event: Event) -> bytes:
    """Return the line of the file that an event is written as."""
    return json.dumps(to_values(event), allow_nan=False, separators=(",", ":")).encode() + b"\n"


def read_events(folder: Path) -> list[Event]:
    """Read all whole events of a study's ledger; an unfinished last line is passed over.

    Raises
    ------
    StudyError
        If there is no ledger, a line that is not the last cannot be read, or it is of a version
        that this one does not read.
    """
    path = folder / FILE_NAME
    try:
        data = path.read_bytes()
    except OSError as error:
        raise StudyError(
            f"{folder} holds no study that can be read: {error.strerror}: {path}"
        ) from None
    return [event for event, _ in LineReader(path).read(data)]


def read_history(folder: Path) -> History:
    """Read a study's ledger; see `read_events`."""
    return _index(read_events(folder), folder / FILE_NAME)


def _index(events: list[Event], path: Path) -> History:
    try:
        return History(events)
    except StudyError as error:
        raise StudyError(f"{path}: {error}") from None


class LineReader:
    """Turns a ledger's lines into events, also of a file that is still being written.

    Parameters
    ----------
    path : Path
        The file, for messages.

    Attributes
    ----------
    format : int
        Of the last line that was read.
    rows, offset : int
        Whole lines that were read, and their bytes.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self.format, self.rows, self.offset = FORMAT, 0, 0

    def read(self, data: bytes) -> Iterator[tuple[Event, int]]:
        """Yield each whole line's event and the offset in the file behind it; `data` begins where
        the lines of the last call ended.
        """
        for line in data.splitlines(keepends=True):
            if not line.endswith(b"\n"):
                return
            self.offset += len(line)
            self.rows += 1
            yield self._event(line), self.offset

    def _event(self, line: bytes) -> Event:
        try:
            values = from_json(line)
            if not isinstance(values, dict):
                raise ValueError
        except ValueError:
            raise StudyError(
                f"{self._path} has a corrupt line that ends at byte {self.offset}:"
                f" {line[:60]!r}... Restore the file from a copy, or remove the line"
            ) from None
        try:
            self._note_format(values)
            return from_values(convert(values, written=self.format), row=self.rows)
        except (StudyError, LookupError, TypeError, AttributeError) as error:
            told = error if isinstance(error, StudyError) else repr(error)
            raise StudyError(f"{self._path}, line {self.rows}: {told}") from None

    def _note_format(self, values: dict[str, Any]) -> None:
        if values.get("event") in (StudyBegun.kind, StudyResumed.kind):
            self.format = values.get("format", self.format)
            check_format(self.format)


def check_place(folder: Path) -> None:
    """Raise a `StudyError` if a study's ledger cannot be kept in a folder; leave nothing there."""
    existing = next(place for place in (folder, *folder.parents) if place.exists())
    free = shutil.disk_usage(existing).free
    if free < LEAST_FREE_BYTES:
        raise StudyError(
            f"the disk of {existing} is full: {free // 2**20} MiB are free, a study needs"
            f" {LEAST_FREE_BYTES // 2**20} MiB at least. Make room, or choose another --storage"
        )
    if not existing.is_dir() or not os.access(existing, os.W_OK):
        raise StudyError(
            f"the ledger {folder / FILE_NAME} cannot be written: {existing} is no folder that can"
            " be. Choose another --storage"
        )


def is_written(folder: Path) -> bool:
    """Return whether a process holds a study's ledger open for writing."""
    lock = FileLock(folder / LOCK_NAME, thread_local=False)
    if not Path(lock.lock_file).exists():
        return False
    try:
        lock.acquire(timeout=0)
    except Timeout:
        return True
    except OSError as error:
        raise StudyError(
            f"whether a process writes to the study in {folder} cannot be told:"
            f" {error.strerror}: {lock.lock_file}. Make it writable"
        ) from None
    lock.release()
    return False


def _timeless(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _timeless(item) for key, item in value.items() if key not in DURATIONS}
    return [_timeless(item) for item in value] if isinstance(value, list) else value


def _mend(path: Path) -> None:
    """Cut off a last line that a crash left unfinished."""
    data = path.read_bytes()
    whole = data.rfind(b"\n") + 1
    if whole < len(data):
        os.truncate(path, whole)
