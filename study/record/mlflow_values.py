"""What a study's events are called in MLflow, and the numbers and texts that they become there."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from mlflow.entities import Metric

from study.record.events import Event, ReferenceScored, TransferScored, TrialScored
from study.record.identities import Reference, RunId

LEVEL_METRICS = ("ssim", "psnr", "nrmse", "mse", "si_ssim", "si_psnr")
STUDY_KEY = "study"


def run_key(run: RunId) -> str:
    """Return what tells a run from others of its study on a server."""
    return f"{run.phase}/{run.trial}/{run.replicate}"


def reference_key(reference: Reference) -> str:
    """Return what tells a reference from others of its study on a server."""
    return f"reference/{reference.label}"


def transfer_key(reference: Reference) -> str:
    """Return the same for its score on the other data set."""
    return f"transfer_{reference_key(reference)}"


def milliseconds(event: Event) -> int:
    """Return an event's time as MLflow counts it."""
    return int(event.time * 1000)


def metrics_of(values: Mapping[str, float], event: Event, *, step: int) -> list[Metric]:
    """Return MLflow's metrics; what is not finite is left out, for MLflow would store 1.8e308 for
    it.
    """
    stamp = milliseconds(event)
    return [
        Metric(name, float(value), stamp, step)
        for name, value in values.items()
        if math.isfinite(value)
    ]


def score_metrics(
    score: TrialScored | TransferScored | ReferenceScored, *, prefix: str = ""
) -> list[Metric]:
    """Return each metric by level under one key, with step = level, so that the UI draws curves
    over z; and the means.
    """
    by_level, mean = (prefix, f"{prefix}_mean") if prefix else ("level", "mean")
    metrics = []
    for name in LEVEL_METRICS:
        if name not in score.evaluation:
            continue
        for level, value in zip(score.levels, score.level_means(name), strict=True):
            metrics += metrics_of({f"{by_level}/{name}": value}, score, step=level)
    summary = {f"{mean}/{name}": value for name, value in score.summary.items()}
    return metrics + metrics_of(summary, score, step=0)


def gain_metrics(score: TrialScored, unrestored: ReferenceScored) -> list[Metric]:
    """Return by how much SSIM is above the unrestored input's, with step = level."""
    without = dict(zip(unrestored.levels, unrestored.level_means("ssim"), strict=True))
    metrics = []
    for level, value in zip(score.levels, score.level_means("ssim"), strict=True):
        if level in without:
            gain = {"level/ssim_gain": value - without[level]}
            metrics += metrics_of(gain, score, step=level)
    return metrics


def flatten(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return nested values under dotted names."""
    flat: dict[str, Any] = {}
    for name, value in values.items():
        nested = isinstance(value, dict)
        flat |= flatten(value, f"{prefix}{name}.") if nested else {f"{prefix}{name}": value}
    return flat
