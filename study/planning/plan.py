"""What a study will take, before anything is spent: measured on a few steps and two fields, here or
on the cluster it is pointed at.
"""

from __future__ import annotations

import shutil
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path

import ray

from study.config import StudyConfig
from study.planning.costs import measure
from study.planning.estimates import Estimate
from study.planning.expected import expect_study
from study.planning.fits import Cluster, misfits
from study.planning.sample import FIELDS, count_images, prepare_sample
from study.planning.text import describe_plan
from study.tune.callbacks import Log
from study.tune.cluster import (
    check_nodes,
    connect,
    describe_places,
    free_on_nodes,
    node_rooms,
)
from study.tune.gpu_shares import share_gpus
from study.tune.tasks import largest_baseline

IMPORT_S = 8.0  # of the libraries, in the program itself


@dataclass(frozen=True)
class Plan:
    """What a study will take.

    Parameters
    ----------
    lines : list of str
        The plan in words.
    problems : list of str
        Why the study does not fit, in words; empty if it does.
    """

    lines: list[str]
    problems: list[str]


def make_plan(config: StudyConfig, log: Log) -> Plan:
    """Measure on two fields and a few steps, and estimate what the study takes.

    Parameters
    ----------
    config : StudyConfig
        Of the study.
    log : callable
        Prints a line of progress.

    Raises
    ------
    StudyError
        If the images cannot be read, or no node of the cluster holds a trial.
    """
    counts = count_images(config, log)
    storage = Path(config.storage).resolve()
    storage.mkdir(parents=True, exist_ok=True)
    # where the cluster's nodes see it
    scratch = Path(tempfile.mkdtemp(prefix=".plan-", dir=storage))
    try:
        sample = prepare_sample(config, scratch)
        log(f"{FIELDS} fields of {counts.fields} prepared, to measure on")
        began = time.perf_counter()
        connect(log)
        start_s = IMPORT_S + time.perf_counter() - began
        # the sample is read where it is; the study's images will be copied
        node_folder = config.resources.node_folder
        config = replace(config, resources=replace(config.resources, node_folder=None))
        check_nodes(config, sample.store, log)
        largest = largest_baseline(config, sample.store, counts.split)
        config = share_gpus(config, sample.ask(largest), log)
        log(describe_places(config.resources))
        study = expect_study(config, counts, sample, scratch)
        measured = measure(study, sample, start_s=start_s, log=log)
        copies = free_on_nodes(node_folder) if node_folder else {}
        cluster = Cluster(node_rooms(config.resources), copies)
        problems = list(misfits(study, measured, cluster))
        estimate = Estimate(study, measured, cluster.places)
        return Plan(describe_plan(estimate, cluster, problems), problems)
    finally:
        ray.shutdown()
        shutil.rmtree(scratch, ignore_errors=True)
