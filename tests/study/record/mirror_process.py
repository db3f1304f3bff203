"""A mirror that runs until MLflow has everything, and what is there then: also for a process of its
own, which needs no framework.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import Any

from mlflow import MlflowClient
from mlflow.entities import Run

from study.record.mirror import Mirror
from study.record.outcome import Outcome

MakeDatabase = Callable[[str], str]


def sync(
    folder: Path,
    uri: str,
    *,
    patience_s: float = 60,
    outcome: Outcome | None = None,
    **options: Any,
) -> int:
    """Mirror a study; return how many events are left."""
    if outcome is not None:
        options["conclude"] = lambda *_: outcome
    mirror = Mirror(folder, uri=uri, experiment="refocus", **options)
    mirror.check()
    mirror.start()
    left = mirror.close(patience_s=patience_s)
    if mirror.failure:
        print(mirror.failure, file=sys.stderr)  # shown where a test fails
    return left


def sync_when_all_are_there(there: Barrier, folder: Path, uri: str, **options: Any) -> None:
    """Mirror a study at the same time as another process."""
    there.wait(120)
    assert sync(folder, uri, **options) == 0


def runs_of(uri: str, study: str) -> dict[str, Run]:
    """Return a study's runs by name."""
    client = MlflowClient(tracking_uri=uri)
    experiment = client.get_experiment_by_name("refocus")
    assert experiment is not None
    runs = client.search_runs([experiment.experiment_id], f"tags.study = '{study}'")
    return {run.info.run_name: run for run in runs}


def rows(uri: str, run: Run, metric: str) -> list[tuple[int, float]]:
    """Return step and value of a metric's rows."""
    history = MlflowClient(tracking_uri=uri).get_metric_history(run.info.run_id, metric)
    return sorted((row.step, row.value) for row in history)
