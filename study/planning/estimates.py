"""What the stages of a study take, added up from its jobs and from what was measured."""

from __future__ import annotations

import functools
import heapq
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from study.planning.costs import Measurements
from study.planning.expected import ExpectedStudy
from study.record.identities import Phase, Role
from study.trial.steps import steps_an_epoch
from study.trial.timing import STEPS, WARM_UP_STEPS
from study.tune.budget import expected_course
from study.tune.trainable import Job
from study.workflow.confirmation import TIMED_ROUNDS, first_replicates
from study.workflow.deconvolutions import TUNING_FIELDS, deconvolved_fields
from study.workflow.post_hoc import is_stitched, shown_level_indices
from study.workflow.stages import Stage

REPORT_S = 8.0  # the report and its figures, and the record's end


class TrialTime(NamedTuple):
    """The seconds that a trial is expected to take, and those that it takes if it is not
    stopped.
    """

    expected_s: float
    unstopped_s: float


def makespan(durations: Sequence[float], places: int) -> float:
    """Return when the last of some jobs ends, if each starts, in their order, as soon as one of
    `places` is free.
    """
    ends = [0.0] * places
    for duration in durations:
        heapq.heapreplace(ends, ends[0] + duration)
    return max(ends)


@dataclass(frozen=True)
class Estimate:
    """What a study is estimated to take.

    Parameters
    ----------
    study : ExpectedStudy
        What it runs.
    measured : Measurements
        What its parts take.
    places : int
        Trials at once.
    """

    study: ExpectedStudy
    measured: Measurements
    places: int

    @functools.cached_property
    def parts(self) -> dict[str, float]:
        """Part of the study -> expected seconds, in the order in which they come; without those
        that take none.
        """
        counts, measured = self.study.counts, self.measured
        image_s = 0.0 if self.study.prepared else measured.raw_s + measured.prepare_s
        parts = {"the images": counts.fields * image_s, "starting": measured.start_s}
        parts |= {str(stage): self.stage_s(stage) for stage in self.study.stages}
        parts["the report"] = REPORT_S
        return {name: seconds for name, seconds in parts.items() if seconds}

    @property
    def seconds(self) -> float:
        """Expected of the whole study."""
        return sum(self.parts.values())

    @property
    def unstopped_s(self) -> float:
        """Of the whole study, if no trial were stopped early."""
        times = [self.trial(job) for job in self.study.searched]
        expected = makespan([time.expected_s for time in times], self.places)
        unstopped = makespan([time.unstopped_s for time in times], self.places)
        return self.seconds - expected + unstopped

    @property
    def gpu_hours(self) -> float:
        """Of all trials together."""
        gpus = self.study.config.resources.gpus_per_trial
        if gpus == "auto":
            return 0.0
        return gpus * sum(self.trial(job).expected_s for job in self.study.jobs) / 3600

    def stage_s(self, stage: Stage) -> float:
        """Return what a stage is expected to take."""
        match stage:
            case Stage.REFERENCES:
                return self._references_s()
            case Stage.SEARCH:
                return self._trials_s(self.study.searched)
            case Stage.TIMING:
                firsts = first_replicates(self.study.confirmed)
                return TIMED_ROUNDS * sum(self._timing_s(job) for job in firsts)
            case Stage.CONFIRMATION:
                return self._trials_s(self.study.confirmed)
            case Stage.POST_HOC:
                return makespan(list(self._questions()), self.places)
            case Stage.LEAK:
                return self._trials_s(self.study.leaking)

    def steps(self, job: Job) -> int:
        """Return the training steps of one of a job's epochs."""
        task = job.task
        if task.steps is not None:
            return -(-task.steps // task.epochs)
        return steps_an_epoch(task, self.study.store)

    def score_s(self, job: Job) -> float:
        """Return what a job's score takes."""
        return self.study.scored_images(job) * self.measured.profile(job).image_s

    def trial(self, job: Job) -> TrialTime:
        """Return what a job takes: its network, its epochs or its budget in seconds, its score."""
        profile, budget = self.measured.profile(job), job.task.epochs
        config, score_s = self.study.config, self.score_s(job)
        if job.run.phase != Phase.SEARCH and config.confirm.seconds is not None:
            whole_s = profile.setup_s + config.confirm.seconds + score_s
            return TrialTime(whole_s, whole_s)
        rung_s = profile.rung_s if job.task.rung_images else 0.0
        epoch_s = self.steps(job) * profile.step_s + rung_s
        epochs, ending = float(budget), 1.0
        if job.run.phase == Phase.SEARCH and job.role == Role.SEARCHED:
            epochs, ending = expected_course(config, budget=budget)
        return TrialTime(
            profile.setup_s + epochs * epoch_s + ending * score_s,
            profile.setup_s + budget * epoch_s + score_s,
        )

    def _trials_s(self, jobs: Iterable[Job]) -> float:
        times = [self.trial(job).expected_s for job in jobs]
        return makespan(times, self.places) + self.measured.worker_s

    def _references_s(self) -> float:
        study, split = self.study, self.study.counts.split
        validation = split.validation if Stage.SEARCH in study.stages else []
        deconvolved = deconvolved_fields(study.config, study.store, split.test)
        tuned = min(TUNING_FIELDS, len(split.validation or split.train)) if deconvolved else 0
        seconds = self.measured.deconvolution_s, self.measured.tuning_s
        deconvolutions = [seconds[0]] * len(deconvolved), [seconds[1]] * tuned
        return len([*split.test, *validation]) * self.measured.reference_s + sum(
            makespan(durations, self.places) for durations in deconvolutions
        )

    def _timing_s(self, job: Job) -> float:
        """Return what one timing of a training step takes."""
        profile = self.measured.profile(job)
        return profile.setup_s + min(self.steps(job), WARM_UP_STEPS + STEPS) * profile.step_s

    def _questions(self) -> Iterator[float]:
        """Yield the seconds of each question that is asked of the confirmed networks."""
        config, counts = self.study.config, self.study.counts
        shown = len(counts.split.test) * len(shown_level_indices(self.study.store))
        for job in self.study.confirmed:
            image_s = self.measured.profile(job).image_s
            if counts.transfer_images:
                yield counts.transfer_images * image_s
            if is_stitched(config, job.task.hyperparameters):
                yield 2 * shown * image_s  # stitched and whole
