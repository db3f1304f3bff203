"""What jobs take, by what a few steps of a few networks were measured to take."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from search_spaces.comparators import comparators
from study.config import StudyConfig
from study.data.batches import patches_of, steps_per_epoch
from study.data.store import Resolution, Store
from study.errors import StudyError
from study.models.autoencoder import (
    build,
    count_operations,
    count_training_operations,
    patch_size_of,
)
from study.trial.classical import DECONVOLUTIONS
from study.trial.evaluation import score_deconvolution
from study.trial.task import TrialTask
from study.trial.timing import STEPS, WARM_UP_STEPS, Profile, profile_trial
from study.tune.budget import Work, expected_course
from study.tune.callbacks import Log
from study.tune.cluster import trials_at_once
from study.tune.tasks import sizes_of
from study.tune.trainable import Job
from study.workflow.post_hoc import answer_all

MOST_COPIES = 8  # of a configuration that are measured at once
TrialTime = tuple[float, float]  # expected seconds, and what they would be if nobody were stopped


@dataclass(frozen=True)
class Costs:
    """What was measured, and what a job takes by it.

    Parameters
    ----------
    config : the study's.
    jobs, profiles : what `key_of` a job returns -> a measured job, and its profile.
    levels : of each field.
    raw_s, prepare_s, reference_s, deconvolution_s : seconds for each field.
    start_s, worker_s : of the program and of a worker, until the first step.
    prepared : whether the study's images are there already.
    rooms : for each node that holds trials, how many at once, and its bytes of memory for them.
    """

    config: StudyConfig
    jobs: dict[str, Job]
    profiles: dict[str, Profile]
    levels: int
    raw_s: float
    prepare_s: float
    start_s: float
    worker_s: float
    reference_s: float
    deconvolution_s: float
    prepared: bool
    rooms: list[tuple[int, float]]

    @property
    def memory_bytes(self) -> int:
        """Of the largest trial."""
        return max(profile.memory_bytes for profile in self.profiles.values())

    def steps(self, job: Job) -> int:
        """Return the training steps of one of its epochs."""
        hyperparameters, task = job.task["hyperparameters"], job.task
        images = len(task["train_fields"]) * (self.levels - 1)
        patches = patches_of(
            int(hyperparameters["image_size"]) // patch_size_of(hyperparameters),
            task["patches_per_image"],
        )
        return steps_per_epoch(
            min(images, task["images_per_epoch"] or images),
            patches=patches,
            batch_size=int(hyperparameters.get("batch_size", task["batch_size"])),
        )

    def profile(self, job: Job) -> Profile:
        """Return its profile: measured, or by its operations between those of the measured
        networks.
        """
        if (key := key_of(job)) in self.profiles:
            return self.profiles[key]
        return Profile(
            setup_s=float(np.median([profile.setup_s for profile in self.profiles.values()])),
            step_s=self._between(job, "step_s", _step_operations),
            rung_s=self._between(job, "rung_s", _image_operations),
            image_s=self._between(job, "image_s", _image_operations),
            parameters=build(job.task["hyperparameters"]).count_params(),
            memory_bytes=self.memory_bytes,
        )

    def _between(self, job: Job, name: str, operations: Callable[[Job], float]) -> float:
        known = sorted(
            (operations(self.jobs[key]), max(getattr(profile, name), 1e-9))
            for key, profile in self.profiles.items()
        )
        xs, ys = np.log(np.array(known)).T
        return float(np.exp(np.interp(math.log(operations(job)), xs, ys)))

    def trial_s(self, job: Job, work: Work, *, seconds: float | None = None) -> TrialTime:
        """Return the seconds that a trial is expected to take, and those that it takes if it is not
        stopped.
        """
        profile, budget = self.profile(job), int(job.task["epochs"])
        epoch = self.steps(job) * profile.step_s + (
            profile.rung_s if job.task["rung_images"] else 0.0
        )
        score = len(job.task["eval_fields"]) * self.levels * profile.image_s
        if seconds is not None:
            return profile.setup_s + seconds + score, profile.setup_s + seconds + score
        searched = job.phase == "search" and not job.baseline
        epochs, ends = (
            expected_course(self.config, budget=budget) if searched else (float(budget), 1.0)
        )
        return (
            profile.setup_s + epochs * epoch + ends * score,
            profile.setup_s + budget * epoch + score,
        )

    def timing_s(self, job: Job) -> float:
        """Return what one timing of a training step takes."""
        profile = self.profile(job)
        return profile.setup_s + min(self.steps(job), WARM_UP_STEPS + STEPS) * profile.step_s


def training_size(config: StudyConfig, store: Store, job: Job) -> float:
    """Return the operations of an epoch of a job."""
    return Work(config, store).of(job)[0]


def measure_networks(
    config: StudyConfig, jobs: list[Job], log: Log
) -> tuple[dict[str, Job], dict[str, Profile], float]:
    """Profile the baselines, the comparators, and the smallest, the median and the largest of the
    searched networks.

    As many copies of each run at once as trials will: on a processor they share caches and memory,
    and each is slower than one alone.

    Returns
    -------
    dict, dict
        What `key_of` returns -> job, and profile: the median over the copies.
    float
        What a worker takes to start.
    """
    store = Store(Path(jobs[0].task["store"]))
    measured = {
        key_of(job): job
        for job in jobs
        if job.baseline or job.label in (name for name, _ in comparators(sizes_of(config)).values())
    }
    searched = sorted(
        {key_of(job): job for job in jobs if job.phase == "search" and not job.baseline}.values(),
        key=lambda job: training_size(config, store, job),
    )
    measured |= (
        {key_of(searched[place]): searched[place] for place in (0, len(searched) // 2, -1)}
        if searched
        else {}
    )
    copies = min(MOST_COPIES, trials_at_once(config.resources))
    profiles: dict[str, Profile] = {}
    starts: list[float] = []
    for key, job in (measured).items():
        task = TrialTask(
            **job.task
            | {"rung_images": config.search.rung_images if config.search.space != "none" else 0}
        )
        began = time.perf_counter()
        answers: list[dict[str, Any]] = []
        for _, answer in answer_all(config.resources, _profile, [task] * copies):
            if isinstance(answer, str):
                raise StudyError(f"{job.label} could not be measured: {answer}")
            answers.append(answer)
        starts.append(time.perf_counter() - began - max(answer["elapsed_s"] for answer in answers))
        middle = {
            name: float(np.median([answer[name] for answer in answers])) for name in answers[0]
        }
        profiles[key] = Profile(
            middle["setup_s"],
            middle["step_s"],
            middle["rung_s"],
            middle["image_s"],
            int(middle["parameters"]),
            int(middle["memory_bytes"]),
        )
        log(
            f"measured {len(profiles)}/{len(measured)} | {job.label}: {profiles[key].step_s:.3f} s"
            " a step"
        )
    return measured, profiles, max(starts)


def _profile(task: TrialTask) -> dict[str, Any]:
    began = time.perf_counter()
    return asdict(profile_trial(task)) | {"elapsed_s": time.perf_counter() - began}


def _step_operations(job: Job) -> float:
    hyperparameters = job.task["hyperparameters"]
    return count_training_operations(
        hyperparameters, patches=int(hyperparameters.get("batch_size", job.task["batch_size"]))
    )


def _image_operations(job: Job) -> float:
    return count_operations(job.task["hyperparameters"])


def time_deconvolutions(config: StudyConfig, store: Store) -> float:
    """Return what all deconvolutions of one field take, if the study asks for any."""
    began = time.perf_counter()
    if config.evaluation.deconvolved_fields:
        for method in DECONVOLUTIONS.values():
            score_deconvolution(
                method,
                store,
                evaluation=Resolution(config.evaluation.resolution, "antialiased"),
                fields=[1],
                eval_split="test",
            )
    return time.perf_counter() - began


def key_of(job: Job) -> str:
    """Return what tells a configuration from others."""
    return repr(sorted(job.task["hyperparameters"].items()))
