"""The ledger: an append-only file of everything a study learns, one JSON object a line. It is the
truth.

Every event has `event`, `time` (seconds since 1970) and the key that tells it from others of its
kind, see `KEYS`. The first event with a key wins. Numbers that JSON cannot write (inf, nan) are
strings.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import math
import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from study.errors import StudyError

FORMAT = 2
FILE_NAME = "ledger.jsonl"
LEAST_FREE_BYTES = 100 * 2**20
UPPER_BOUND = "upper bound at"  # how the references begin that no model is, and no curve shows
AT_SIZE = "unrestored input at"  # and the unrestored input at another model's own size
NO_CURVES = (UPPER_BOUND, AT_SIZE)
KEYS = {
    "study": (),  # configuration, environment, store, split
    "trial": ("phase", "trial", "replicate"),  # label, baseline, hyperparameters, seed
    "placed": (
        "phase",
        "trial",
        "replicate",
        "node",
        "pid",
    ),  # from its first report there: node, process, device, GPUs, share
    "epoch": ("phase", "trial", "replicate", "epoch"),  # metrics, cost
    "score": ("phase", "trial", "replicate"),  # metrics of every field at every level
    "trial_end": ("phase", "trial", "replicate"),  # status: finished, stopped, failed; reason
    "reference": ("reference",),  # unrestored input, and the paper's curves
    "transfer_set": (),  # the other data set: its store and its images
    "transfer_reference": ("reference",),  # unrestored input and the paper's curves there
    "transfer": ("trial", "replicate"),  # a confirmed network's score there
    "stitching": (
        "trial",
        "replicate",
    ),  # the same weights stitched and at once: errors at the seams and elsewhere
    "timing": ("trial",),  # seconds of a training step, steps of an epoch
    "test_opened": ("opening",),  # the candidates that the test set was opened for
    "resumed": ("run",),  # the configuration with which a study goes on, environment
    "study_end": ("run",),  # status
    # numbers that came out otherwise when a trial was taken up again; the first stand
    "repeat": ("of", "attempt"),
}
DURATIONS = (
    "time",
    "seconds",
    "rung_seconds",
    "training_seconds",
    "latency_ms",
    "record_seconds",
)  # what differs from one time to another
"""What every kind of event is told from the others by, and (in the comment) what it holds."""


class Ledger:
    """The writing side; one at a time, under a lock.

    Parameters
    ----------
    folder : Path
        The study's folder.

    Raises
    ------
    StudyError
        If another process writes to it, or it cannot be written.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / FILE_NAME
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._file = self.path.open("ab")
        except OSError as error:
            raise StudyError(
                f"the ledger {self.path} cannot be written: {error.strerror}. Choose another"
                " --storage"
            ) from None
        if not _lock(self._file):
            self._file.close()
            raise StudyError(
                f"another process is running this study: it holds the lock of {self.path}"
            )
        try:
            _mend(self.path)
            self._seen = {_key(event): _digest(event) for event in read_events(folder)}
        except BaseException:
            self._file.close()
            raise
        self.seconds = 0.0
        self.broken = ""  # why nothing can be written any more

    def append(self, event: str, **values: Any) -> None:
        """Write one event to the disk, unless one with its key is there, before anything else may
        hear of it.

        An epoch or a score that is there already with other numbers is kept as a `repeat`; the
        first stands.
        """
        started = time.perf_counter()
        row = {"event": event, "time": time.time(), **values}
        key = _key(row)
        if key in self._seen and event in ("epoch", "score") and self._seen[key] != _digest(row):
            attempts = sum(other[:2] == ("repeat", key) for other in self._seen)
            row = {
                "event": "repeat",
                "time": row["time"],
                "of": list(key),
                "attempt": attempts,
                "instead": values,
            }
            key = _key(row)
        if key not in self._seen:
            line = json.dumps(_plain(row), allow_nan=False, separators=(",", ":")).encode() + b"\n"
            if self.broken:
                raise StudyError(self.broken)
            try:
                self._file.write(line)
                self._file.flush()
                os.fsync(self._file.fileno())
            except OSError as error:
                self.broken = (
                    f"the ledger {self.path} cannot be written any more: {error.strerror}. It"
                    " holds all that was learned until then: make room, and go on with --resume"
                    f" {self.path.parent}"
                )
                raise StudyError(self.broken) from None
            self._seen[key] = _digest(row)
        self.seconds += time.perf_counter() - started

    def __enter__(self) -> Ledger:
        return self

    def __exit__(self, *_: object) -> None:
        """Give the lock back."""
        with contextlib.suppress(OSError):  # what could not be written is told where it was to be
            self._file.close()


def read_events(folder: Path) -> list[dict[str, Any]]:
    """Read all whole events of a study's ledger; an unfinished last line is passed over.

    Raises
    ------
    StudyError
        If there is no ledger, or a line that is not the last cannot be read.
    """
    path = folder / FILE_NAME
    try:
        data = path.read_bytes()
    except OSError as error:
        raise StudyError(
            f"{folder} holds no study that can be read: {error.strerror}: {path}"
        ) from None
    events = [event for event, _ in parse_lines(data, path)]
    if events and (written := events[0].get("format", FORMAT)) != FORMAT:
        raise StudyError(
            f"{path} has format {written}, written by"
            f" {'a newer' if written > FORMAT else 'an older'} version of this program, which reads"
            f" format {FORMAT}. Use that version for it"
        )
    return events


def level_means(score: dict[str, Any], table: str, metric: str) -> list[float]:
    """Return a score's means over fields at each level; nan where no image of a level was scored.

    Parameters
    ----------
    score : dict
        A `score`, `reference` or `transfer` event.
    table : str
        ``evaluation`` (resolution) or ``own`` (size).
    metric : str
        One of that table's metrics.
    """
    means = []
    for column in zip(*score[table][metric], strict=True):
        scored = [value for value in column if not math.isnan(value)]
        means.append(sum(scored) / len(scored) if scored else math.nan)
    return means


def parse_lines(
    data: bytes, path: Path, *, offset: int = 0
) -> Iterator[tuple[dict[str, Any], int]]:
    """Yield each whole line's event and the offset behind it; `data` starts at `offset` of the file
    `path`.
    """
    for line in data.splitlines(keepends=True):
        if not line.endswith(b"\n"):
            return
        offset += len(line)
        try:
            event = json.loads(line)
        except ValueError:
            raise StudyError(
                f"{path} has a corrupt line that ends at byte {offset}: {line[:60]!r}... Restore"
                " the file from a copy, or remove the line"
            ) from None
        yield _numbers(event), offset


def check_place(folder: Path) -> None:
    """Raise a `StudyError` if a study's ledger cannot be kept in a folder, or the one that is
    there cannot be read; leaves nothing behind.
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
    if (folder / FILE_NAME).exists():
        with Ledger(folder):
            pass


def _lock(file: IO[bytes]) -> bool:
    """Take the lock of a ledger; a reader that looks whether it is written holds it for an
    instant.
    """
    for _ in range(5):
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            time.sleep(0.05)
        else:
            return True
    return False


def _key(event: dict[str, Any]) -> tuple[Any, ...]:
    return (event["event"], *(_hashable(event.get(name)) for name in KEYS[event["event"]]))


def _hashable(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def _digest(event: dict[str, Any]) -> bytes:
    """Tell events apart by all but their durations."""
    return hashlib.blake2b(
        json.dumps(_timeless(_plain(event)), sort_keys=True).encode(), digest_size=8
    ).digest()


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


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value


def _numbers(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _numbers(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_numbers(item) for item in value]
    return float(value) if value in ("inf", "-inf", "nan") else value
