"""The ledger, mirrored to MLflow: from its own thread, in batches, again and again until it is
there. Nothing waits for it.

How far a server is stands in the study's folder (``mirror/``); one process at a time mirrors a
study to a server.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import math
import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")
os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
# the client would send a creation twice; the mirror looks first, then tries again
os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "30")

from filelock import FileLock, Timeout
from mlflow import MlflowClient

from study.errors import StudyError
from study.files import new_file
from study.programs import call
from study.record.events import Event
from study.record.history import History
from study.record.ledger import FILE_NAME, LineReader, is_written
from study.record.mlflow_runs import Conclude, DrawFigures, Runs
from study.record.outcome import Outcome

FLUSH_AT = 5000  # metrics that wait before they are sent, while a long ledger is replayed
PATIENCE_IF_AWAY_S = 15.0
PAUSE_S = 0.5  # between two looks at the ledger; doubled with every failure, up to these
LONGEST_PAUSE_S, LONGEST_PAUSE_AT_END_S = 30.0, 2.0
FOLDER = "mirror"


class Mirror:
    """Keeps an MLflow server as far as the ledger is.

    Parameters
    ----------
    folder : Path
        The study's folder.
    uri : str or None
        Tracking URI; None mirrors nothing.
    experiment : str
        Name of the MLflow experiment.
    draw, conclude : callable, optional
        See `study.record.mlflow_runs.Runs`; both are called in the mirror's own thread, `conclude`
        for every end but the one that `start` names.
    again : bool
        Replay the whole ledger, whatever the server was sent before.
    """

    def __init__(
        self,
        folder: Path,
        *,
        uri: str | None,
        experiment: str,
        draw: DrawFigures | None = None,
        conclude: Conclude | None = None,
        again: bool = False,
    ) -> None:
        self._folder, self._uri, self._experiment = folder, uri, experiment
        self._draw, self._conclude = draw, conclude
        self._file: Path | None = None
        if uri and uri.startswith("sqlite:///"):
            self._file = Path(uri.removeprefix("sqlite:///")).resolve()
        self._stop, self._again = threading.Event(), again
        self._run: int | None = None
        self._outcome: Outcome | None = None
        self._thread: threading.Thread | None = None
        self._runs: Runs | None = None
        self._lock = FileLock(folder / FOLDER / "lock", thread_local=False)
        self._reader = LineReader(folder / FILE_NAME)
        self._done = 0  # bytes of the ledger that the server has
        self._patience_s = math.inf
        self._progressed = time.monotonic()
        self.experiment_id: str | None = None
        self.failure = ""  # why the last attempt failed
        self.seconds = 0.0  # of the processor's time, so far
        self.waited_s = 0.0  # that the study waited for it, at its end

    def check(self) -> None:
        """Raise a `StudyError` if the server does not answer, the experiment is deleted there, or
        the folder of a sqlite file cannot be made.
        """
        if self._uri is None:
            return
        logging.getLogger("mlflow").setLevel(logging.WARNING)
        try:
            with self._alone_with_the_file():
                client = MlflowClient(tracking_uri=self._uri)
                experiment = client.get_experiment_by_name(self._experiment)
            if experiment is not None and experiment.lifecycle_stage == "deleted":
                raise StudyError(
                    f"its experiment {self._experiment!r} is deleted: {call('mlflow')} experiments"
                    f" restore -x {experiment.experiment_id}"
                )
        except Exception as error:  # whatever the server's client raises: there is no common class
            told = (str(error) or type(error).__name__).splitlines()[0][:200]
            remedy = (
                "Start it, correct record.mlflow, or run without it: --without-mlflow; `refocus"
                " sync` brings the record there later"
            )
            if str(self._uri).startswith("http") and any(
                word in str(error).lower() for word in ("401", "403", "authenticat", "permission")
            ):
                remedy = (
                    "It wants a name and a password: set MLFLOW_TRACKING_USERNAME and"
                    f" MLFLOW_TRACKING_PASSWORD. {remedy}"
                )
            raise StudyError(
                f"MLflow cannot be reached at {self._uri}: {told}. {remedy}"
            ) from error

    @contextlib.contextmanager
    def _alone_with_the_file(self) -> Iterator[None]:
        """Hold a lock beside the sqlite file while it is opened: two processes that make it at once
        break it.
        """
        if self._file is None:
            yield
            return
        self._file.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(self._file.with_name(f".{self._file.name}.lock")):
            yield

    def start(self, *, run: int | None = None) -> None:
        """Begin to mirror in the background.

        Parameters
        ----------
        run : int, optional
            The run of the study whose outcome `close` is given; the end of that run is sent then.
        """
        self._run = run
        if self._uri is not None:
            self._thread = threading.Thread(target=self._follow, name="mlflow-mirror", daemon=True)
            self._thread.start()

    def close(
        self,
        *,
        outcome: Outcome | None = None,
        patience_s: float = 60.0,
        log: Callable[[str], None] = lambda line: None,
    ) -> int:
        """Mirror what is left, with the outcome of the run that was named at the start; give up
        after `patience_s` without progress; return the number of events that MLflow has not got.

        Whatever holds it up is said when it begins to.
        """
        if self._thread is None:
            return 0
        if self.failure:  # it was away before: what it misses is told, and the ledger has it
            patience_s = min(patience_s, PATIENCE_IF_AWAY_S)
        began = self._progressed = time.monotonic()
        self._patience_s, self._outcome = patience_s, outcome
        self._stop.set()
        said = ""
        while self._thread.is_alive() and time.monotonic() - self._progressed < patience_s:
            self._thread.join(0.2)
            if self.failure and self.failure != said:
                said = self.failure
                log(said)
        self.waited_s = time.monotonic() - began
        return self._left()

    def _follow(self) -> None:
        pause_s = PAUSE_S
        while True:
            closing = self._stop.is_set()
            began = time.thread_time()
            try:
                if self._runs is None:
                    self._runs = self._connect()
                self._send(self._runs)
                if closing and not is_written(self._folder):
                    self._send(self._runs)  # what was written before its writer ended
                    self._runs.settle()
            except Exception as error:
                # a server's failure of any kind never reaches the study; it is tried again
                self._runs = None
                self.failure = f"{type(error).__name__}: {error}".splitlines()[0][:300]
                if closing and time.monotonic() - self._progressed > self._patience_s:
                    break
                pause_s = min(pause_s * 2, LONGEST_PAUSE_S)
                if closing:
                    time.sleep(min(pause_s, LONGEST_PAUSE_AT_END_S))
                else:
                    self._stop.wait(pause_s)
            else:
                self.failure = ""
                if closing:
                    break
                pause_s = PAUSE_S
                self._stop.wait(pause_s)
            finally:
                self.seconds += time.thread_time() - began
        self._lock.release()

    def _send(self, runs: Runs) -> None:
        offset = self._done
        for event, offset in self._read():
            runs.send(event)
            self._progressed = time.monotonic()
            if runs.waiting > FLUSH_AT:
                runs.flush()
                self._remember(offset)
        runs.flush()
        if offset != self._done or not self._memory.is_file():
            self._remember(offset)

    def _remember(self, offset: int) -> None:
        self._done = offset
        with new_file(self._memory) as path:
            path.write_text(
                json.dumps({"uri": self._uri, "experiment": self._experiment, "bytes": offset}),
                encoding="utf-8",
            )

    def _read(self, end: int | None = None) -> Iterator[tuple[Event, int]]:
        """Yield what was written since the last call, and the offset in the file behind it."""
        path = self._folder / FILE_NAME
        if not path.exists():
            return
        with path.open("rb") as file:
            start = file.seek(self._reader.offset)
            data = file.read() if end is None else file.read(end - start)
        yield from self._reader.read(data)

    def _left(self) -> int:
        """Return how many whole events the server has not got."""
        path = self._folder / FILE_NAME
        return path.read_bytes()[self._done :].count(b"\n") if path.exists() else 0

    @property
    def _memory(self) -> Path:
        """Where it stands how far this server is."""
        server = self._file or str(self._uri).rstrip("/")
        place = hashlib.blake2b(f"{server} {self._experiment}".encode(), digest_size=6).hexdigest()
        return self._folder / FOLDER / f"{place}.json"

    def _connect(self) -> Runs:
        """Find or make the experiment, and catch up on what the server has been sent before."""
        self._take_lock()
        if self._again:
            self._memory.unlink(missing_ok=True)
            self._again = False
        client = MlflowClient(tracking_uri=self._uri)
        experiment = client.get_experiment_by_name(self._experiment)
        if experiment is not None:
            self.experiment_id = experiment.experiment_id
        else:  # a file's artifacts lie beside it, not in whatever folder the program was started in
            place = None if self._file is None else (self._file.parent / "mlartifacts").as_uri()
            self.experiment_id = client.create_experiment(self._experiment, artifact_location=place)
        runs = self._fresh_runs(client, self.experiment_id)
        if self._memory.is_file():
            until = int(json.loads(self._memory.read_text(encoding="utf-8"))["bytes"])
            for event, offset in self._read(until):
                runs.learn(event)
                self._done = offset
            if not runs.complete:
                # another server at the same address, an emptied one, or a run was deleted there
                runs = self._fresh_runs(client, self.experiment_id)
        return runs

    def _fresh_runs(self, client: MlflowClient, experiment_id: str) -> Runs:
        """Return runs that know of nothing, to be told the ledger from its beginning."""
        self._done = 0
        self._reader = LineReader(self._folder / FILE_NAME)
        return Runs(
            client, experiment_id, self._folder, draw=self._draw, conclude=self._outcome_at_end
        )

    def _outcome_at_end(self, folder: Path, history: History) -> Outcome | None:
        """Return the outcome of the run of the study that has just ended in this history."""
        if history.ends[-1].run == self._run:
            self._stop.wait()
            return self._outcome
        return self._conclude(folder, history) if self._conclude else None

    def _take_lock(self) -> None:
        """Be the only process that mirrors this study: two addresses may be one server."""
        Path(self._lock.lock_file).parent.mkdir(parents=True, exist_ok=True)
        try:
            if not self._lock.is_locked:
                self._lock.acquire(timeout=0)
        except Timeout:
            raise StudyError(
                "another process brings this study to MLflow; waiting for it"
            ) from None
