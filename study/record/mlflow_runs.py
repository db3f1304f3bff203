"""What a study's events become in MLflow: a parent run, a run for each trial and each reference,
found again by a tag before they are made.

Every timestamp is the ledger's, so that sending an event again changes nothing.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from mlflow import MlflowClient
from mlflow.entities import Dataset, DatasetInput, InputTag, Metric, Param, Run, RunStatus, RunTag
from mlflow.utils.mlflow_tags import MLFLOW_DATASET_CONTEXT, MLFLOW_PARENT_RUN_ID, MLFLOW_RUN_NAME

from study.record.ledger import level_means
from study.record.outcome import Outcome
from study.record.registry import KEY_TAG, register

DrawFigures = Callable[
    [Path, dict[str, Any], dict[str, Any], dict[str, Any], list[dict[str, Any]]], list[Path]
]
"""Study folder, a `score` event, its `trial` event, what the ledger says of the images, the
`reference` events to show -> figures of that trial.
"""
Conclude = Callable[[Path, int], Outcome]
"""Study folder and number of the run -> what the study had found out when that run of it ended."""

LEVEL_METRICS = ("ssim", "psnr", "nrmse", "mse")
PROBLEM = "problem"
OUTCOME_TAGS = ("champion", "winner", "baseline", "verdict", "front", PROBLEM)
BATCH, PARAMS = 1000, 100  # MLflow's limits for the metrics and the parameters of one request
_STATUS = {
    "finished": RunStatus.FINISHED,
    "stopped": RunStatus.FINISHED,
    "failed": RunStatus.FAILED,
}


class Runs:
    """The runs of one study on one server.

    Parameters
    ----------
    client : MlflowClient
        Of the server.
    experiment_id : str
        The experiment that holds the study.
    folder : Path
        The study's folder.
    draw : callable, optional
        Draws a trial's figures, which become artifacts of its run.
    conclude : callable, optional
        Says how the study came out, once it has ended; this becomes tags, metrics and artifacts of
        the parent run, and registered models.
    """

    def __init__(
        self,
        client: MlflowClient,
        experiment_id: str,
        folder: Path,
        *,
        draw: DrawFigures | None = None,
        conclude: Conclude | None = None,
    ) -> None:
        self._client, self._experiment_id, self._folder = client, experiment_id, folder
        self._draw, self._conclude = draw, conclude
        self._study: dict[str, Any] = {}
        self._ids: dict[str, str] = {}
        self._trials: dict[str, dict[str, Any]] = {}
        self._references: list[dict[str, Any]] = []
        self._other = ""  # what the transfer is scored on
        self._waiting: dict[str, list[Metric]] = {}
        self._open: dict[str, None] = {}  # keys of runs that have begun and not ended
        self._last_ms = 0
        self.outcome: Outcome | None = None

    @property
    def complete(self) -> bool:
        """Whether the server has every run that it should have by what was learned."""
        references = {f"reference/{event['reference']}" for event in self._references}
        return bool(self._study) and {"study", *self._trials, *references} <= set(self._ids)

    @property
    def waiting(self) -> int:
        """How many metrics are not sent yet."""
        return sum(map(len, self._waiting.values()))

    def learn(self, event: dict[str, Any]) -> None:
        """Take note of an event that the server has already."""
        kind = event["event"]
        self._last_ms = max(self._last_ms, _milliseconds(event))
        if kind == "study":
            self._study, self._open = event, {"study": None}
            self._ids = {
                run.data.tags[KEY_TAG].partition("/")[2]: run.info.run_id for run in self._found()
            }
        elif kind == "trial":
            self._trials[_trial_key(event)] = event
            self._open[_trial_key(event)] = None
        elif kind == "trial_end":
            self._open.pop(_trial_key(event), None)
        elif kind == "reference":
            self._references.append(event)
        elif kind == "transfer_set":
            self._other = event["images"]["title"]
        elif kind == "resumed":
            self._open["study"] = None
        elif kind == "study_end":
            self._open.pop("study", None)

    def send(self, event: dict[str, Any]) -> None:
        """Bring an event to the server; metrics wait for `flush`."""
        self.learn(event)
        if (sender := getattr(self, f"_send_{event['event']}", None)) is not None:
            sender(event)

    def flush(self) -> None:
        """Send the metrics that wait."""
        for run in list(self._waiting):
            metrics = self._waiting.pop(run)
            for start in range(0, len(metrics), BATCH):
                self._client.log_batch(run, metrics=metrics[start : start + BATCH])

    def settle(self) -> None:
        """Mark as killed what has begun and not ended, where nobody works on the study any more."""
        self.flush()
        for key in self._open:
            if key in self._ids:
                self._client.set_terminated(self._ids[key], "KILLED", self._last_ms)

    def _send_study(self, event: dict[str, Any]) -> None:
        parent = self._ensure("study", event["name"], event, {"kind": "study"})
        params = {
            **_flatten(event["config"]),
            "store.fingerprint": event["store"]["fingerprint"],
            **{
                f"package.{name}": version
                for name, version in event["environment"]["packages"].items()
            },
            "git": event["environment"]["git"],
        }
        rows = [Param(name, str(value)[:500]) for name, value in params.items()]
        for start in range(0, len(rows), PARAMS):
            self._client.log_batch(parent, params=rows[start : start + PARAMS])
        self._log_dataset(parent)

    def _send_trial(self, event: dict[str, Any]) -> None:
        name = event["label"]
        if event["phase"] != "search":
            name += (
                f" (test, {'split within levels, ' if event['phase'] == 'leak' else ''}seed"
                f" {event['replicate']})"
            )
        tags = {
            "kind": "baseline" if event["baseline"] else "trial",
            "phase": event["phase"],
            "trial": str(event["trial"]),
            "eval_split": event["eval_split"],
        }
        config = self._study["config"]
        cautions = {
            "patches_per_image": config["training"]["patches_per_image"],
            "scaled_down": config["scaled_down"],
        }
        tags |= {caution: str(value) for caution, value in cautions.items() if value}
        run = self._ensure(_trial_key(event), name, event, tags)
        params = {
            **event["hyperparameters"],
            "seed": event["seed"],
            "epochs": event["epochs"],
            "threads": event["threads"],
        }
        self._client.log_batch(
            run, params=[Param(key, str(value)) for key, value in params.items()]
        )
        self._log_dataset(run)

    def _send_placed(self, event: dict[str, Any]) -> None:
        tags = {
            "node": event["node"],
            "device": event.get("gpu") or event.get("processor"),
            "backend": event.get("backend"),
        }
        self._client.log_batch(
            self._run_of(event), tags=[RunTag(name, value) for name, value in tags.items() if value]
        )

    def _send_epoch(self, event: dict[str, Any]) -> None:
        metrics = {
            **event["metrics"],
            **{f"cost/{name}": value for name, value in event["cost"].items()},
        }
        self._log(self._run_of(event), _metrics(metrics, event, step=event["epoch"]))

    def _send_score(self, event: dict[str, Any]) -> None:
        run = self._run_of(event)
        self._log_score(run, event)
        nothing = next(
            (
                row
                for row in self._references
                if row["reference"] == f"unrestored input ({event['eval_split']})"
            ),
            None,
        )
        if nothing is not None:
            without = dict(
                zip(nothing["levels"], level_means(nothing, "evaluation", "ssim"), strict=True)
            )
            for level, value in zip(
                event["levels"], level_means(event, "evaluation", "ssim"), strict=True
            ):
                self._log(
                    run, _metrics({"level/ssim_gain": value - without[level]}, event, step=level)
                )
        if self._draw is None:
            return
        shown = [
            row for row in self._references if row["eval_split"] in (event["eval_split"], "paper")
        ]
        try:
            paths = self._draw(
                self._folder, event, self._trials[_trial_key(event)], self._study["images"], shown
            )
        except Exception as error:  # numbers go on without a figure; the run says why it has none
            self._client.set_tag(run, "figures", f"not drawn: {error}"[:500])
            return
        for path in paths:
            self._client.log_artifact(run, str(path), "figures")

    def _send_trial_end(self, event: dict[str, Any]) -> None:
        self.flush()
        run = self._run_of(event)
        self._client.log_batch(
            run, tags=[RunTag("end", event["status"]), RunTag("reason", event["reason"][:500])]
        )
        self._client.set_terminated(
            run, RunStatus.to_string(_STATUS[event["status"]]), _milliseconds(event)
        )

    def _send_reference(self, event: dict[str, Any]) -> None:
        run = self._ensure(
            f"reference/{event['reference']}",
            event["reference"],
            event,
            {"kind": "reference", "eval_split": event["eval_split"]},
        )
        self._log_score(run, event)
        self.flush()
        self._client.set_terminated(run, "FINISHED", _milliseconds(event))

    def _send_transfer_reference(self, event: dict[str, Any]) -> None:
        tags = {"kind": "reference", "eval_split": self._other}
        run = self._ensure(
            f"transfer_reference/{event['reference']}",
            f"{event['reference']} ({self._other})",
            event,
            tags,
        )
        self._log_score(run, event, prefix="transfer")
        self.flush()
        self._client.set_terminated(run, "FINISHED", _milliseconds(event))

    def _send_transfer(self, event: dict[str, Any]) -> None:
        self._log_score(
            self._ids[f"confirm/{event['trial']}/{event['replicate']}"], event, prefix="transfer"
        )

    def _send_resumed(self, event: dict[str, Any]) -> None:
        for key in self._open:
            if key in self._ids:
                self._client.update_run(self._ids[key], "RUNNING")

    def _send_study_end(self, event: dict[str, Any]) -> None:
        self.flush()
        parent = self._ids["study"]
        tags = {"problems": "; ".join(event["problems"])[:500]}
        outcome = self._concluded(event)
        if outcome is not None:
            tags |= {f"outcome.{name}": outcome.tags.get(name, "")[:500] for name in OUTCOME_TAGS}
            metrics = {f"outcome/{name}": value for name, value in outcome.metrics.items()}
            self._log(parent, _metrics(metrics, event, step=event.get("run", 0)))
            for path in outcome.artifacts:
                self._client.log_artifact(parent, str(path), "report")
            for kept in outcome.models:
                key = f"confirm/{kept.trial}/{kept.replicate}"
                register(
                    self._client,
                    study=self._study["name"],
                    key=f"{self._study['uid']}/{key}",
                    run=self._ids[key],
                    kept=kept,
                )
        self.flush()
        self._client.log_batch(parent, tags=[RunTag(name, text) for name, text in tags.items()])
        self._client.set_terminated(
            parent, "FAILED" if event["status"] == "failed" else "FINISHED", _milliseconds(event)
        )

    def _concluded(self, event: dict[str, Any]) -> Outcome | None:
        """Return the outcome as of this end of the study, which may be resumed later; what can
        not be concluded holds no number up.
        """
        if self._conclude is None:
            return None
        try:
            self.outcome = self._conclude(self._folder, event.get("run", 0))
        except Exception as error:
            self.outcome = Outcome(tags={PROBLEM: f"not concluded: {error}"})
        return self.outcome

    def _found(self) -> Iterator[Run]:
        token = None
        while True:
            page = self._client.search_runs(
                [self._experiment_id],
                f"tags.`refocus.study_uid` = '{self._study['uid']}'",
                max_results=1000,
                page_token=token,
            )
            yield from page
            token = page.token
            if not token:
                return

    def _ensure(self, key: str, name: str, event: dict[str, Any], tags: dict[str, str]) -> str:
        """Return the run with this key, and make it if there is none."""
        if key not in self._ids:
            every = {
                KEY_TAG: f"{self._study['uid']}/{key}",
                "refocus.study_uid": self._study["uid"],
                "study": self._study["name"],
                MLFLOW_RUN_NAME: name,
                **tags,
            }
            if key != "study":
                every[MLFLOW_PARENT_RUN_ID] = self._ids["study"]
            run = self._client.create_run(
                self._experiment_id, start_time=_milliseconds(event), tags=every
            )
            self._ids[key] = run.info.run_id
        return self._ids[key]

    def _run_of(self, event: dict[str, Any]) -> str:
        return self._ids[_trial_key(event)]

    def _log_dataset(self, run: str) -> None:
        """Name the prepared images that a run rests on, by their fingerprint."""
        store = self._study["store"]
        described = Dataset(
            name=f"{self._study['images']['title']} {store['channel']}",
            digest=store["fingerprint"][:32],
            source_type="local",
            source=json.dumps({"uri": store["source"]}),
            profile=json.dumps(
                {"levels": len(store["levels"]), "fields": self._study["images"]["fields"]}
            ),
        )
        self._client.log_inputs(
            run, [DatasetInput(described, [InputTag(MLFLOW_DATASET_CONTEXT, "training")])]
        )

    def _log_score(self, run: str, event: dict[str, Any], *, prefix: str = "") -> None:
        """Log each metric by level under one key, with step = level, so that the UI draws curves
        over z.
        """
        by_level, mean = (prefix, f"{prefix}_mean") if prefix else ("level", "mean")
        metrics = []
        for name in LEVEL_METRICS:
            if name not in event["evaluation"]:
                continue
            for level, value in zip(
                event["levels"], level_means(event, "evaluation", name), strict=True
            ):
                metrics += _metrics({f"{by_level}/{name}": value}, event, step=level)
        summary = {f"{mean}/{name}": value for name, value in event.get("summary", {}).items()}
        self._log(run, metrics + _metrics(summary, event, step=0))

    def _log(self, run: str, metrics: list[Metric]) -> None:
        self._waiting.setdefault(run, []).extend(metrics)


def _trial_key(event: dict[str, Any]) -> str:
    return f"{event['phase']}/{event['trial']}/{event['replicate']}"


def _milliseconds(event: dict[str, Any]) -> int:
    return int(event["time"] * 1000)


def _metrics(values: dict[str, float], event: dict[str, Any], *, step: int) -> list[Metric]:
    """Return MLflow's metrics; what is not finite is left out, for MLflow would store 1.8e308 for
    it.
    """
    stamp = _milliseconds(event)
    return [
        Metric(name, float(value), stamp, step)
        for name, value in values.items()
        if math.isfinite(value)
    ]


def _flatten(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in values.items():
        flat |= (
            _flatten(value, f"{prefix}{name}.")
            if isinstance(value, dict)
            else {f"{prefix}{name}": value}
        )
    return flat
