"""What a few steps of a few networks, and what stands beside them, take on this machine or cluster;
and what other networks take by it.
"""

from __future__ import annotations

import functools
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from study.config import StudyConfig
from study.data.store import Resolution, Store
from study.errors import StudyError
from study.models.autoencoder import build, count_operations, count_training_operations
from study.planning.expected import ExpectedStudy, by_size
from study.planning.sample import SCORED, TRAINED, Sample
from study.record.identities import Role
from study.trial.classical import DECONVOLUTIONS
from study.trial.deconvolving import choose_parameter, score_deconvolution
from study.trial.mean_scale import TrainingImages
from study.trial.steps import batch_size_of
from study.trial.task import TrialTask
from study.trial.timing import Profile, profile_trial
from study.tune.callbacks import Log
from study.tune.cluster import trials_at_once
from study.tune.remote import call_on_cluster
from study.tune.trainable import Job
from study.workflow.deconvolutions import deconvolved_fields, tuning_metric
from study.workflow.reference_scores import score_references
from study.workflow.stages import Stage

MOST_COPIES = 8  # of a configuration that are measured at once
SEARCHED_TITLES = ("smallest searched", "median searched", "largest searched")


@dataclass(frozen=True)
class Network:
    """A configuration that was measured: its name in a table, one of its jobs, and what it took."""

    title: str
    job: Job
    profile: Profile


@dataclass(frozen=True)
class Measurements:
    """What was measured.

    Parameters
    ----------
    networks : mapping
        What `key_of` a job returns -> the network.
    raw_s, prepare_s, reference_s, deconvolution_s, tuning_s : float
        Seconds for each field: to simulate it, to prepare it, to score what learns nothing on it,
        to restore it by all deconvolutions, and to tune them on it.
    start_s, worker_s : float
        Until the program can begin, and until a worker can.
    """

    networks: Mapping[str, Network]
    raw_s: float
    prepare_s: float
    reference_s: float
    deconvolution_s: float
    tuning_s: float
    start_s: float
    worker_s: float

    @property
    def memory_bytes(self) -> int:
        """Of the largest trial."""
        return max(network.profile.memory_bytes for network in self.networks.values())

    def profile(self, job: Job) -> Profile:
        """Return a job's profile: measured, or by its operations between those of the measured
        networks.
        """
        if (key := key_of(job)) in self.networks:
            return self.networks[key].profile
        if key not in self._interpolated:
            self._interpolated[key] = self._interpolate(job)
        return self._interpolated[key]

    @functools.cached_property
    def _interpolated(self) -> dict[str, Profile]:
        return {}  # each once, for it takes building the network

    def _interpolate(self, job: Job) -> Profile:
        setups = [network.profile.setup_s for network in self.networks.values()]
        return Profile(
            setup_s=float(np.median(setups)),
            step_s=self._between(job, lambda profile: profile.step_s, _step_operations),
            rung_s=self._between(job, lambda profile: profile.rung_s, _image_operations),
            image_s=self._between(job, lambda profile: profile.image_s, _image_operations),
            parameters=build(job.task.hyperparameters).count_params(),
            memory_bytes=self.memory_bytes,
        )

    def _between(
        self, job: Job, seconds: Callable[[Profile], float], operations: Callable[[Job], float]
    ) -> float:
        known = sorted(
            (operations(network.job), max(seconds(network.profile), 1e-9))
            for network in self.networks.values()
        )
        xs, ys = np.log(np.array(known)).T
        return float(np.exp(np.interp(math.log(operations(job)), xs, ys)))


def key_of(job: Job) -> str:
    """Return what tells a job's hyperparameters from others."""
    return repr(sorted(job.task.hyperparameters.items()))


def measure(study: ExpectedStudy, sample: Sample, *, start_s: float, log: Log) -> Measurements:
    """Measure networks, references and deconvolutions on a sample.

    Parameters
    ----------
    study : ExpectedStudy
        Whose networks.
    sample : Sample
        The images.
    start_s : float
        What the start of the program took.
    log : callable
        Told of each network.
    """
    networks, worker_s = _measure_networks(study, sample, log)
    began = time.perf_counter()
    training = TrainingImages(sample.store, [TRAINED])
    list(score_references(study.config, sample.store, [SCORED], "test", training=training, skip=()))
    reference_s = time.perf_counter() - began
    deconvolution_s, tuning_s = _time_deconvolutions(study.config, sample.store)
    return Measurements(
        networks,
        raw_s=sample.raw_s,
        prepare_s=sample.prepare_s,
        reference_s=reference_s,
        deconvolution_s=deconvolution_s,
        tuning_s=tuning_s,
        start_s=start_s,
        worker_s=worker_s,
    )


def choose_networks(study: ExpectedStudy) -> dict[str, tuple[str, Job]]:
    """Choose what to measure: the baselines, the comparators, and the smallest, the median and the
    largest of the searched networks.

    Returns
    -------
    dict
        What `key_of` returns -> title and job.
    """
    chosen: dict[str, tuple[str, Job]] = {}
    for job in (*study.searched, *study.confirmed):
        if job.role != Role.SEARCHED:
            chosen.setdefault(key_of(job), (job.label, job))
    different = {key_of(job): job for job in study.searched}.values()
    searched = by_size(study.config, study.store, list(different))
    if searched:
        places = sorted({0, len(searched) // 2, len(searched) - 1})
        titles = SEARCHED_TITLES if len(places) == 3 else ("searched",) * len(places)
        for title, place in zip(titles, places, strict=True):
            chosen[key_of(searched[place])] = title, searched[place]
    return chosen


def _measure_networks(
    study: ExpectedStudy, sample: Sample, log: Log
) -> tuple[dict[str, Network], float]:
    """Profile some networks; return them, and what a worker takes to start.

    As many copies of each run at once as trials will: on a processor they share caches and memory,
    and each is slower than one alone.
    """
    config, chosen = study.config, choose_networks(study)
    copies = min(MOST_COPIES, trials_at_once(config.resources))
    rung_images = config.search.rung_images if Stage.SEARCH in study.stages else 0
    networks: dict[str, Network] = {}
    starts: list[float] = []
    for key, (title, job) in chosen.items():
        task = replace(sample.ask(job.task), rung_images=rung_images)
        began = time.perf_counter()
        answers: list[dict[str, float]] = []
        for _, answer in call_on_cluster(config.resources, _profile, [task] * copies):
            if isinstance(answer, str):
                raise StudyError(f"{job.label} could not be measured: {answer}")
            answers.append(answer)
        starts.append(time.perf_counter() - began - max(answer["elapsed_s"] for answer in answers))
        networks[key] = Network(title, job, _median_profile(answers))
        log(
            f"measured {len(networks)}/{len(chosen)} | {job.label}:"
            f" {networks[key].profile.step_s:.3f} s a step"
        )
    return networks, max(starts)


def _profile(task: TrialTask) -> dict[str, Any]:
    began = time.perf_counter()
    return asdict(profile_trial(task)) | {"elapsed_s": time.perf_counter() - began}


def _median_profile(answers: list[dict[str, float]]) -> Profile:
    middle = {name: float(np.median([answer[name] for answer in answers])) for name in answers[0]}
    return Profile(
        setup_s=middle["setup_s"],
        step_s=middle["step_s"],
        rung_s=middle["rung_s"],
        image_s=middle["image_s"],
        parameters=int(middle["parameters"]),
        memory_bytes=int(middle["memory_bytes"]),
    )


def _time_deconvolutions(config: StudyConfig, store: Store) -> tuple[float, float]:
    """Return what all deconvolutions of one field take, and all their tuning on it, if the study
    asks for any: at most, for the largest parameter is timed, at a level in the middle.
    """
    if not deconvolved_fields(config, store, [SCORED]):
        return 0.0, 0.0
    levels = store.defocused_indices
    middle = levels[len(levels) // 2]
    evaluation, seconds = Resolution(config.evaluation.resolution, "antialiased"), [0.0, 0.0]
    for method in DECONVOLUTIONS.values():
        began = time.perf_counter()
        score_deconvolution(
            method,
            store,
            evaluation=evaluation,
            fields=[SCORED],
            eval_split="test",
            parameters={store.levels[middle]: method.grid[-1]},
            held_out=[[middle]] * len(store.fields),
        )
        scored = time.perf_counter()
        choose_parameter(
            method,
            store,
            evaluation=evaluation,
            fields=[SCORED],
            level=middle,
            metric=tuning_metric(config),
        )
        seconds[0] += scored - began
        seconds[1] += time.perf_counter() - scored
    return seconds[0] * len(levels), seconds[1] * len(levels)


def _step_operations(job: Job) -> float:
    return count_training_operations(job.task.hyperparameters, patches=batch_size_of(job.task))


def _image_operations(job: Job) -> float:
    return count_operations(job.task.hyperparameters)
