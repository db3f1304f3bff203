"""The ledger: an append-only file of everything a study learns, one JSON object a line. It is the
truth.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import os
import shutil
import time
from collections.abc import Hashable, Iterator
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from study.errors import StudyError
from study.record.events import (
    EpochEnded,
    Event,
    NumbersDiffered,
    TrialScored,
    from_values,
    to_values,
)
from study.record.history import History
from study.record.older import FORMAT, check_format, convert

FILE_NAME = "ledger.jsonl"
LOCK_NAME = ".ledger.lock"
LEAST_FREE_BYTES = 100 * 2**20
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
        self._lock = FileLock(folder / LOCK_NAME)
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._lock.acquire(timeout=0)
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
            self.history = read_history(folder)
        except BaseException:
            self._file.close()
            self._lock.release()
            raise
        self._seen = {_identity(event): _digest(event) for event in self.history.events}
        self.seconds = 0.0
        self.broken = ""

    def append(self, event: Event) -> None:
        """Write one event to the disk, unless one with its key is there, before anything else may
        hear of it.

        An epoch or a score that is there already with other numbers is kept as `NumbersDiffered`;
        the first stands.
        """
        started = time.perf_counter()
        event = self._as_repeat(event)
        if (key := _identity(event)) not in self._seen:
            event = dataclasses.replace(event, time=time.time(), row=len(self.history.events) + 1)
            self._write(to_line(event))
            self._seen[key] = _digest(event)
            self.history.add(event)
        self.seconds += time.perf_counter() - started

    def _as_repeat(self, event: Event) -> Event:
        """Return what is kept of an event whose key is there already with other numbers."""
        known = self._seen.get(_identity(event))
        if not isinstance(event, EpochEnded | TrialScored) or known in (None, _digest(event)):
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
        """Give the lock back."""
        with contextlib.suppress(OSError):  # what could not be written is told where it was to be
            self._file.close()
        self._lock.release()


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
    return History(read_events(folder))


class LineReader:
    """Turns a ledger's lines into events, also of a file that is still being written.

    Parameters
    ----------
    path : Path
        The file, for messages.

    Attributes
    ----------
    offset : int
        Bytes of the file that were read as whole lines.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._format, self._row = FORMAT, 0
        self.offset = 0

    def read(self, data: bytes) -> Iterator[tuple[Event, int]]:
        """Yield each whole line's event and the offset in the file behind it; `data` goes on where
        the last call ended.
        """
        for line in data.splitlines(keepends=True):
            if not line.endswith(b"\n"):
                return
            self.offset += len(line)
            self._row += 1
            yield self._event(line), self.offset

    def _event(self, line: bytes) -> Event:
        try:
            values: dict[str, Any] = json.loads(line)
        except ValueError:
            raise StudyError(
                f"{self._path} has a corrupt line that ends at byte {self.offset}:"
                f" {line[:60]!r}... Restore the file from a copy, or remove the line"
            ) from None
        if values.get("event") == "study":
            self._format = values.get("format", FORMAT)
            check_format(self._format, self._path)
        try:
            return from_values(convert(values, written=self._format), row=self._row)
        except (StudyError, LookupError, TypeError, AttributeError) as error:
            raise StudyError(f"{self._path}, line {self._row}: {error}") from None


def check_place(folder: Path) -> None:
    """Raise a `StudyError` if a study's ledger cannot be kept in a folder, or the one that is there
    cannot be read; leaves nothing behind.
    """
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
    lock = FileLock(folder / LOCK_NAME)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        return True
    lock.release()
    return False


def _identity(event: Event) -> tuple[str, tuple[Hashable, ...]]:
    return event.kind, event.key


def _digest(event: Event) -> bytes:
    """Tell events apart by all but their durations."""
    values = json.dumps(_timeless(to_values(event)), sort_keys=True)
    return hashlib.blake2b(values.encode(), digest_size=8).digest()


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
