"""What a study's events become in MLflow: a parent run, a run for each trial and each reference,
found again by a tag before they are made.

Every timestamp is the ledger's, so that sending an event again changes nothing.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from mlflow import MlflowClient
from mlflow.entities import Dataset, DatasetInput, InputTag, Metric, Param, Run, RunStatus, RunTag
from mlflow.utils.mlflow_tags import MLFLOW_DATASET_CONTEXT, MLFLOW_PARENT_RUN_ID, MLFLOW_RUN_NAME

from study.record.events import (
    EpochEnded,
    Event,
    ReferenceScored,
    StudyBegun,
    StudyEnded,
    StudyResumed,
    TransferReferenceScored,
    TransferScored,
    TrialBegun,
    TrialEnded,
    TrialPlaced,
    TrialScored,
)
from study.record.history import History
from study.record.identities import Phase, Reference, ReferenceRole, Role, RunId, TrialStatus
from study.record.mlflow_values import (
    STUDY_KEY,
    flatten,
    gain_metrics,
    metrics_of,
    milliseconds,
    reference_key,
    run_key,
    score_metrics,
    transfer_key,
)
from study.record.outcome import CHAMPION, PROBLEM, Outcome
from study.record.registry import KEY_TAG, register, withdraw

DrawFigures = Callable[[Path, History, TrialScored], list[Path]]
"""Study's folder, what its ledger says, a run's score -> files of that run's figures."""
Conclude = Callable[[Path, History], Outcome | None]
"""Study's folder and what its ledger said when a run of it ended -> its outcome then."""

OUTCOME_TAGS = ("champion", "endpoint", "winner", "baseline", "verdict", "front", PROBLEM)
# MLflow's limits for the metrics and the parameters of one request, and what is kept of a text
BATCH, PARAMS, PARAM_LENGTH = 1000, 100, 500
_STATUS = {
    TrialStatus.FINISHED: RunStatus.FINISHED,
    TrialStatus.STOPPED: RunStatus.FINISHED,
    TrialStatus.FAILED: RunStatus.FAILED,
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
        self._history = History()
        self._ids: dict[str, str] = {}
        self._params: dict[str, set[str]] = {}  # names of those that a run has on the server
        self._waiting: dict[str, list[Metric]] = {}
        self._last_ms = 0

    @property
    def complete(self) -> bool:
        """Whether the server has every run that it should have by what was learned."""
        held = self._history
        keys = {STUDY_KEY, *map(run_key, held.runs), *map(reference_key, held.references)}
        keys |= set(map(transfer_key, held.transfer_references))
        return held.has_begun and keys <= set(self._ids)

    @property
    def waiting(self) -> int:
        """How many metrics are not sent yet."""
        return sum(map(len, self._waiting.values()))

    def learn(self, event: Event) -> None:
        """Take note of an event that the server has already."""
        self._history.add(event)
        self._last_ms = max(self._last_ms, milliseconds(event))
        if isinstance(event, StudyBegun):
            for run in self._runs_on_server():
                self._ids[run.data.tags[KEY_TAG].partition("/")[2]] = run.info.run_id
                self._params[run.info.run_id] = set(run.data.params)

    def send(self, event: Event) -> None:
        """Bring an event to the server; metrics wait for `flush`."""
        self.learn(event)
        match event:
            case StudyBegun():
                self._send_study(event)
            case StudyResumed():
                self._send_resumed()
            case StudyEnded():
                self._send_study_end(event)
            case TrialBegun():
                self._send_trial(event)
            case TrialPlaced():
                self._send_placed(event)
            case EpochEnded():
                self._send_epoch(event)
            case TrialScored():
                self._send_score(event)
            case TrialEnded():
                self._send_trial_end(event)
            case TransferReferenceScored():
                self._send_transfer_reference(event)
            case ReferenceScored():
                self._send_reference(event)
            case TransferScored():
                self._log(self._run_of(event.run), score_metrics(event, prefix="transfer"))

    def flush(self) -> None:
        """Send the metrics that wait."""
        for run in list(self._waiting):
            metrics = self._waiting.pop(run)
            for start in range(0, len(metrics), BATCH):
                self._client.log_batch(run, metrics=metrics[start : start + BATCH])

    def settle(self) -> None:
        """Mark as killed what has begun and not ended, where nobody works on the study any more."""
        self.flush()
        for run in self._open_runs():
            self._client.set_terminated(run, "KILLED", self._last_ms)

    def _open_runs(self) -> Iterator[str]:
        """Yield MLflow's numbers of the runs that have begun and not ended."""
        held = self._history
        keys = [run_key(run.id) for run in held.runs.values() if run.end is None]
        if held.has_begun and not held.ended:
            keys.append(STUDY_KEY)
        return (self._ids[key] for key in keys if key in self._ids)

    def _send_study(self, event: StudyBegun) -> None:
        parent = self._ensure(STUDY_KEY, event.name, event, {"kind": "study"})
        packages = event.environment.packages
        params = {
            **flatten(event.config.to_dict()),
            "store.fingerprint": event.store.fingerprint,
            **{f"package.{name}": version for name, version in packages.items()},
            "git": event.environment.git,
        }
        self._log_params(parent, params)
        self._log_dataset(parent)

    def _send_trial(self, event: TrialBegun) -> None:
        name = event.label
        if event.phase != Phase.SEARCH:
            leak = "split within levels, " if event.phase == Phase.LEAK else ""
            name += f" (test, {leak}seed {event.replicate})"
        tags = {
            "kind": "baseline" if event.role == Role.BASELINE else "trial",
            "phase": str(event.phase),
            "trial": str(event.trial),
            "eval_split": event.eval_split,
        }
        config = self._history.study.config
        cautions = {
            "patches_per_image": config.training.patches_per_image,
            "scaled_down": config.scaled_down,
        }
        tags |= {caution: str(value) for caution, value in cautions.items() if value}
        run = self._ensure(run_key(event.run), name, event, tags)
        params = {
            **event.hyperparameters,
            "seed": event.seed,
            "epochs": event.epochs,
            "threads": event.threads,
        }
        self._log_params(run, params)
        self._log_dataset(run)

    def _send_placed(self, event: TrialPlaced) -> None:
        device = event.gpu or event.processor
        tags = {"node": event.node, "device": device, "backend": event.backend}
        held = [RunTag(name, value) for name, value in tags.items() if value]
        self._client.log_batch(self._run_of(event.run), tags=held)

    def _send_epoch(self, event: EpochEnded) -> None:
        cost = {f"cost/{name}": value for name, value in event.cost.items()}
        metrics = metrics_of(event.metrics | cost, event, step=event.epoch)
        self._log(self._run_of(event.run), metrics)

    def _send_score(self, event: TrialScored) -> None:
        run = self._run_of(event.run)
        self._log(run, score_metrics(event))
        unrestored = self._history.references.get(
            Reference(ReferenceRole.UNRESTORED_INPUT, event.eval_split)
        )
        if unrestored is not None:
            self._log(run, gain_metrics(event, unrestored))
        if self._draw is None:
            return
        try:
            paths = self._draw(self._folder, self._history, event)
        except Exception as error:  # numbers go on without a figure; the run says why it has none
            self._client.set_tag(run, "figures", f"not drawn: {error}"[:500])
            return
        for path in paths:
            self._client.log_artifact(run, str(path), "figures")

    def _send_trial_end(self, event: TrialEnded) -> None:
        self.flush()
        run = self._run_of(event.run)
        tags = [RunTag("end", str(event.status)), RunTag("reason", event.reason[:500])]
        self._client.log_batch(run, tags=tags)
        status = RunStatus.to_string(_STATUS[event.status])
        self._client.set_terminated(run, status, milliseconds(event))

    def _send_reference(self, event: ReferenceScored) -> None:
        key, name = reference_key(event.reference), event.reference.label
        tags = {"kind": "reference", "eval_split": event.eval_split}
        self._end_reference(self._ensure(key, name, event, tags), event, prefix="")

    def _send_transfer_reference(self, event: TransferReferenceScored) -> None:
        other = self._history.transfer_set
        title = other.images.title if other else ""
        key, name = transfer_key(event.reference), event.reference.label
        tags = {"kind": "reference", "eval_split": title}
        run = self._ensure(key, f"{name} ({title})", event, tags)
        self._end_reference(run, event, prefix="transfer")

    def _end_reference(self, run: str, event: ReferenceScored, *, prefix: str) -> None:
        self._log(run, score_metrics(event, prefix=prefix))
        self.flush()
        self._client.set_terminated(run, "FINISHED", milliseconds(event))

    def _send_resumed(self) -> None:
        for run in self._open_runs():
            self._client.update_run(run, "RUNNING")

    def _send_study_end(self, event: StudyEnded) -> None:
        self.flush()
        parent = self._ids[STUDY_KEY]
        tags = {"problems": "; ".join(event.problems)[:500]}
        outcome = self._concluded()
        if outcome is not None:
            tags |= {f"outcome.{name}": outcome.tags.get(name, "")[:500] for name in OUTCOME_TAGS}
            metrics = {f"outcome/{name}": value for name, value in outcome.metrics.items()}
            self._log(parent, metrics_of(metrics, event, step=event.run))
            for path in outcome.artifacts:
                self._client.log_artifact(parent, str(path), "report")
            study = self._history.study
            for kept in outcome.models:
                key = run_key(kept.run)
                register(
                    self._client,
                    study=study.name,
                    key=f"{study.uid}/{key}",
                    run=self._ids[key],
                    kept=kept,
                )
            if CHAMPION in outcome.tags and CHAMPION not in {kept.alias for kept in outcome.models}:
                withdraw(self._client, study=study.name, alias=CHAMPION)
        self.flush()
        self._client.log_batch(parent, tags=[RunTag(name, text) for name, text in tags.items()])
        status = "FAILED" if event.status == "failed" else "FINISHED"
        self._client.set_terminated(parent, status, milliseconds(event))

    def _concluded(self) -> Outcome | None:
        """Return the outcome as of this end of the study, which may be resumed later; what cannot
        be concluded holds no number up.
        """
        if self._conclude is None:
            return None
        try:
            return self._conclude(self._folder, self._history)
        except Exception as error:
            return Outcome(tags={PROBLEM: f"not concluded: {error}"})

    def _runs_on_server(self) -> Iterator[Run]:
        token = None
        while True:
            page = self._client.search_runs(
                [self._experiment_id],
                f"tags.`refocus.study_uid` = '{self._history.study.uid}'",
                max_results=1000,
                page_token=token,
            )
            yield from page
            token = page.token
            if not token:
                return

    def _ensure(self, key: str, name: str, event: Event, tags: dict[str, str]) -> str:
        """Return the run with this key, and make it if there is none."""
        if key not in self._ids:
            study = self._history.study
            every = {
                KEY_TAG: f"{study.uid}/{key}",
                "refocus.study_uid": study.uid,
                "study": study.name,
                MLFLOW_RUN_NAME: name,
                **tags,
            }
            if key != STUDY_KEY:
                every[MLFLOW_PARENT_RUN_ID] = self._ids[STUDY_KEY]
            run = self._client.create_run(
                self._experiment_id, start_time=milliseconds(event), tags=every
            )
            self._ids[key], self._params[run.info.run_id] = run.info.run_id, set()
        return self._ids[key]

    def _run_of(self, run: RunId) -> str:
        return self._ids[run_key(run)]

    def _log_dataset(self, run: str) -> None:
        """Name the prepared images that a run rests on, by their fingerprint."""
        store, images = self._history.study.store, self._history.study.images
        described = Dataset(
            name=f"{images.title} {store.channel}",
            digest=store.fingerprint[:32],
            source_type="local",
            source=json.dumps({"uri": store.source}),
            profile=json.dumps({"levels": len(store.levels), "fields": images.fields}),
        )
        context = [InputTag(MLFLOW_DATASET_CONTEXT, "training")]
        self._client.log_inputs(run, [DatasetInput(described, context)])

    def _log_params(self, run: str, values: Mapping[str, Any]) -> None:
        """Log parameters; those that the run has stay, for MLflow refuses to change one: an older
        version may have written the same study there.
        """
        held = self._params[run]
        new = [
            Param(name, str(value)[:PARAM_LENGTH])
            for name, value in values.items()
            if name not in held
        ]
        for start in range(0, len(new), PARAMS):
            self._client.log_batch(run, params=new[start : start + PARAMS])
        held |= set(values)

    def _log(self, run: str, metrics: list[Metric]) -> None:
        self._waiting.setdefault(run, []).extend(metrics)
