"""The ledger, mirrored to MLflow: from its own thread, in batches, again and again until it is there.

Nothing waits for it. Runs are found again by a tag before they are made, and every timestamp is the ledger's, so that
mirroring a ledger again from its beginning changes nothing.
"""

from __future__ import annotations

import contextlib
import logging
import math
import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")

from mlflow import MlflowClient
from mlflow.entities import Metric, Param, Run, RunStatus, RunTag
from mlflow.utils.mlflow_tags import MLFLOW_PARENT_RUN_ID, MLFLOW_RUN_NAME

from study.errors import StudyError
from study.record.ledger import FILE_NAME, level_means, parse_lines

DrawFigures = Callable[[Path, dict[str, Any]], list[Path]]
"""Study folder and a `score` event -> figures of that trial."""

KEY_TAG = "refocus.key"
LEVEL_METRICS = ("ssim", "psnr", "nrmse", "mse")
BATCH = 1000  # MLflow's limit for the metrics of one request
_STATUS = {"finished": RunStatus.FINISHED, "stopped": RunStatus.FINISHED, "failed": RunStatus.FAILED}


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
    draw : callable, optional
        Draws a trial's figures, which become artifacts of its run.
    """

    def __init__(self, folder: Path, *, uri: str | None, experiment: str, draw: DrawFigures | None = None) -> None:
        self._folder, self._uri, self._experiment, self._draw = folder, uri, experiment, draw
        self._file = Path(uri.removeprefix("sqlite:///")).resolve() if uri and uri.startswith("sqlite:///") else None
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._runs: dict[str, str] = {}
        self._study: dict[str, Any] = {}
        self._other = ""  # what the transfer is scored on
        self.experiment_id: str | None = None
        self._done = 0  # bytes of the ledger that are mirrored
        self._deadline = math.inf

    def check(self) -> None:
        """Raise a `StudyError` if the server does not answer, or the folder of a sqlite file can not be made."""
        try:
            if self._file is not None:
                self._file.parent.mkdir(parents=True, exist_ok=True)
            elif self._uri is not None:
                with _few_retries():
                    MlflowClient(tracking_uri=self._uri).search_experiments(max_results=1)
        except Exception as error:  # whatever the server's client raises: there is no common class
            raise StudyError(
                f"MLflow can not be reached at {self._uri}: {(str(error) or type(error).__name__).splitlines()[0][:200]}. Start it, "
                "correct record.mlflow, or set record.mlflow to none"
            ) from error

    def start(self) -> None:
        """Begin to mirror in the background."""
        if self._uri is not None:
            self._thread = threading.Thread(target=self._follow, name="mlflow-mirror", daemon=True)
            self._thread.start()

    def close(self, *, patience_s: float = 60.0) -> int:
        """Mirror what is left, within `patience_s`; return the number of events that MLflow has not got."""
        if self._thread is None:
            return 0
        self._deadline = time.monotonic() + patience_s
        self._stop.set()
        self._thread.join(patience_s)
        return sum(1 for _ in self._new_events())

    def _follow(self) -> None:
        pause_s = 0.5
        while True:
            closing = self._stop.is_set()
            try:
                if self.experiment_id is None:
                    self._connect()
                for event, offset in self._new_events():
                    self._apply(event)
                    self._done = offset
            except Exception:  # a server's failure of any kind never reaches the study; it is tried again
                if closing and time.monotonic() > self._deadline:
                    return
                time.sleep(min(pause_s, 2.0) if closing else 0)
                pause_s = min(pause_s * 2, 30.0)
            else:
                if closing:
                    return
                pause_s = 0.5
            self._stop.wait(pause_s)

    def _new_events(self) -> Iterator[tuple[dict[str, Any], int]]:
        path = self._folder / FILE_NAME
        if not path.exists():
            return
        with path.open("rb") as file:
            file.seek(self._done)
            data = file.read()
        yield from parse_lines(data, path, offset=self._done)

    def _connect(self) -> None:
        logging.getLogger("mlflow").setLevel(logging.WARNING)
        self._client = MlflowClient(tracking_uri=self._uri)
        found = self._client.get_experiment_by_name(self._experiment)
        if found is not None:
            self.experiment_id = found.experiment_id
            return
        # a file's artifacts lie beside it, not in whatever folder the program was started in
        place = None if self._file is None else (self._file.parent / "mlartifacts").as_uri()
        self.experiment_id = self._client.create_experiment(self._experiment, artifact_location=place)

    def _apply(self, event: dict[str, Any]) -> None:
        kind = event["event"]
        if kind == "study":
            self._begin_study(event)
        elif kind == "trial":
            self._begin_trial(event)
        elif kind == "epoch":
            metrics = {**event["metrics"], **{f"cost/{name}": value for name, value in event["cost"].items()}}
            self._log(self._run_of(event), _metrics(metrics, event, step=event["epoch"]))
        elif kind == "score":
            self._log_score(self._run_of(event), event)
            self._log_figures(self._run_of(event), event)
        elif kind == "trial_end":
            run = self._run_of(event)
            self._client.log_batch(run, tags=[RunTag("end", event["status"]), RunTag("reason", event["reason"][:500])])
            self._client.set_terminated(run, RunStatus.to_string(_STATUS[event["status"]]), _milliseconds(event))
        elif kind == "reference":
            run = self._ensure_run(
                f"reference/{event['reference']}", event["reference"], event, {"kind": "reference", "judged_on": event["judged_on"]}
            )
            self._log_score(run, event)
            self._client.set_terminated(run, "FINISHED", _milliseconds(event))
        elif kind == "transfer_reference":
            run = self._ensure_run(
                f"transfer_reference/{event['reference']}", f"{event['reference']} ({self._other})", event,
                {"kind": "reference", "judged_on": self._other},
            )  # fmt: skip
            self._log_score(run, event, prefix="transfer")
            self._client.set_terminated(run, "FINISHED", _milliseconds(event))
        elif kind == "transfer_set":
            self._other = event["images"]["title"]
        elif kind == "transfer":
            self._log_score(self._runs[f"confirm/{event['trial']}/{event['replicate']}"], event, prefix="transfer")
        elif kind == "resumed":
            self._client.update_run(self._runs["study"], "RUNNING")
        elif kind == "study_end":
            status = "FAILED" if event["status"] == "failed" else "FINISHED"
            self._client.log_batch(self._runs["study"], tags=[RunTag("problems", "; ".join(event["problems"])[:500])])
            self._client.set_terminated(self._runs["study"], status, _milliseconds(event))

    def _begin_study(self, event: dict[str, Any]) -> None:
        self._study = event
        self._runs = {}
        for run in self._found_runs():
            self._runs[run.data.tags[KEY_TAG].partition("/")[2]] = run.info.run_id
        parent = self._ensure_run("study", event["name"], event, {"kind": "study"})
        params = {
            **_flatten(event["config"]),
            "store.fingerprint": event["store"]["fingerprint"],
            **{f"package.{name}": version for name, version in event["environment"]["packages"].items()},
            "git": event["environment"]["git"],
        }
        self._client.log_batch(parent, params=[Param(name, str(value)[:500]) for name, value in params.items()])

    def _begin_trial(self, event: dict[str, Any]) -> None:
        name = event["label"]
        if event["phase"] != "search":
            name += f" (test, {'split within levels, ' if event['phase'] == 'leak' else ''}seed {event['replicate']})"
        tags = {
            "kind": "baseline" if event["baseline"] else "trial",
            "phase": event["phase"],
            "trial": str(event["trial"]),
            "judged_on": event["judged_on"],
        }
        config = self._study["config"]
        cautions = {"patches_per_image": config["training"]["patches_per_image"], "scaled_down": config["scaled_down"]}
        tags |= {caution: str(value) for caution, value in cautions.items() if value}
        run = self._ensure_run(_trial_key(event), name, event, tags)
        params = {**event["hyperparameters"], "seed": event["seed"], "epochs": event["epochs"], "threads": event["threads"]}
        self._client.log_batch(run, params=[Param(key, str(value)) for key, value in params.items()])

    def _found_runs(self) -> Iterator[Run]:
        token = None
        while True:
            page = self._client.search_runs(
                [self.experiment_id], f"tags.`refocus.study_uid` = '{self._study['uid']}'", max_results=1000, page_token=token
            )
            yield from page
            token = page.token
            if not token:
                return

    def _ensure_run(self, key: str, name: str, event: dict[str, Any], tags: dict[str, str]) -> str:
        """Return the run with this key, and make it if there is none."""
        if key not in self._runs:
            every = {
                KEY_TAG: f"{self._study['uid']}/{key}",
                "refocus.study_uid": self._study["uid"],
                "study": self._study["name"],
                MLFLOW_RUN_NAME: name,
                **tags,
            }
            if key != "study":
                every[MLFLOW_PARENT_RUN_ID] = self._runs["study"]
            run = self._client.create_run(self.experiment_id, start_time=_milliseconds(event), tags=every)
            self._runs[key] = run.info.run_id
        return self._runs[key]

    def _run_of(self, event: dict[str, Any]) -> str:
        return self._runs[_trial_key(event)]

    def _log_score(self, run: str, event: dict[str, Any], *, prefix: str = "") -> None:
        """Log each metric by level under one key, with step = level, so that the UI draws curves over z."""
        by_level, mean = (prefix, f"{prefix}_mean") if prefix else ("level", "mean")
        metrics = []
        for name in LEVEL_METRICS:
            if name not in event["common"]:
                continue
            for level, value in zip(event["levels"], level_means(event, "common", name), strict=True):
                metrics += _metrics({f"{by_level}/{name}": value}, event, step=level)
        summary = {f"{mean}/{name}": value for name, value in event.get("summary", {}).items()}
        self._log(run, metrics + _metrics(summary, event, step=0))

    def _log_figures(self, run: str, event: dict[str, Any]) -> None:
        if self._draw is None:
            return
        try:
            paths = self._draw(self._folder, event)
        except Exception as error:  # numbers go on without a figure; the run says why it has none
            self._client.set_tag(run, "figures", f"not drawn: {error}"[:500])
            return
        for path in paths:
            self._client.log_artifact(run, str(path), "figures")

    def _log(self, run: str, metrics: list[Metric]) -> None:
        for start in range(0, len(metrics), BATCH):
            self._client.log_batch(run, metrics=metrics[start : start + BATCH])


@contextlib.contextmanager
def _few_retries() -> Iterator[None]:
    """Let MLflow's client give up after seconds, not minutes: a wrong address is to be told before anything is spent."""
    names = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1", "MLFLOW_HTTP_REQUEST_TIMEOUT": "10"}
    kept = {name: os.environ.get(name) for name in names}
    os.environ.update(names)
    try:
        yield
    finally:
        for name, value in kept.items():
            os.environ.pop(name) if value is None else os.environ.update({name: value})


def _trial_key(event: dict[str, Any]) -> str:
    return f"{event['phase']}/{event['trial']}/{event['replicate']}"


def _milliseconds(event: dict[str, Any]) -> int:
    return int(event["time"] * 1000)


def _metrics(values: dict[str, float], event: dict[str, Any], *, step: int) -> list[Metric]:
    """Return MLflow's metrics; what is not finite is left out, for MLflow would store 1.8e308 for it."""
    stamp = _milliseconds(event)
    return [Metric(name, float(value), stamp, step) for name, value in values.items() if math.isfinite(value)]


def _flatten(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in values.items():
        flat |= _flatten(value, f"{prefix}{name}.") if isinstance(value, dict) else {f"{prefix}{name}": value}
    return flat
