"""How many trials share a GPU: measured, and chosen by what binds first."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping

import ray

from study.config import StudyConfig
from study.errors import StudyError
from study.trial.task import TrialTask
from study.tune.callbacks import Log
from study.tune.cluster import node_resources

MOST_TRIALS_A_GPU = 8
MARGIN = 1.25  # a larger configuration than the measured one may be proposed
CONTEXT_BYTES = 600 * 2**20  # what CUDA itself takes of a GPU's memory for each process


def share_gpus(config: StudyConfig, task: TrialTask, log: Log) -> StudyConfig:
    """Return the configuration with a number for ``gpus_per_trial: auto``: the share that a
    measured trial takes of a GPU.

    Parameters
    ----------
    config : StudyConfig
        The study's.
    task : TrialTask
        The trial to measure: the largest baseline.
    log : callable
        Told what was chosen, and why.
    """
    if config.resources.gpus_per_trial != "auto":
        return config
    held = [node for node in node_resources() if node.get("GPU", 0) >= 1]
    if not held:
        share, why = 0.0, "no node of the cluster has a GPU"
    else:
        measure = ray.remote(num_cpus=config.resources.cpus_per_trial, num_gpus=1)(_measure)
        try:
            used = ray.get(measure.remote(task))
        except ray.exceptions.RayError as error:
            raise StudyError(
                "resources.gpus_per_trial: auto measures a trial, and it failed:"
                f" {str(error).strip().splitlines()[-1][:300]}. Give a number instead"
            ) from None
        cpus = min(node["CPU"] / node["GPU"] for node in held) / config.resources.cpus_per_trial
        share, why = choose_share(used, cpus=cpus)
    log(f"resources.gpus_per_trial: auto is {share:g}: {why}")
    return dataclasses.replace(
        config, resources=dataclasses.replace(config.resources, gpus_per_trial=share)
    )


def choose_share(used: Mapping[str, float] | None, *, cpus: float) -> tuple[float, str]:
    """Return the share of a GPU that a trial is given, and why.

    Parameters
    ----------
    used : mapping or None
        What a trial alone on a GPU took: ``bytes`` and ``busy`` (0 to 1), of the GPU's
        ``total_bytes``; None if it could not be measured.
    cpus : float
        How many trials the processors beside each GPU hold.
    """
    if used is None:
        return 1.0, "what a trial takes of a GPU could not be measured"
    memory = int(used["total_bytes"] / (used["bytes"] * MARGIN + CONTEXT_BYTES))
    busy = int(1 / max(used["busy"], 0.01) + 1e-9)
    limits = {
        "its memory": memory,
        "its time": busy,
        "the processors beside it": int(cpus),
        "the bound": MOST_TRIALS_A_GPU,
    }
    binding = min(limits, key=lambda name: limits[name])
    count = max(1, limits[binding])
    return (
        1 / count if count > 1 else 1.0,
        (
            f"a trial alone took {used['bytes'] / 2**30:.1f} of {used['total_bytes'] / 2**30:.0f}"
            f" GiB and kept the GPU busy for {100 * used['busy']:.0f} % of the time; a GPU's memory"
            f" holds {memory} such trials, its time {busy}, the processors beside it"
            f" {math.floor(cpus)}, and {MOST_TRIALS_A_GPU} is the most: {binding} binds"
        ),
    )


def _measure(task: TrialTask) -> dict[str, float] | None:
    from study.trial.timing import measure_share

    return measure_share(task)
