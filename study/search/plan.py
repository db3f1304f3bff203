"""What a study will take, before anything is spent: measured on a few steps and two fields, here or on the cluster it is pointed at."""

from __future__ import annotations

import heapq
import math
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import ray

from search_spaces.baselines import WHOLE_IMAGE, baselines
from search_spaces.marks import marks
from study.config import DatasetConfig, StudyConfig, derive_seed
from study.data.batches import patches_of, steps_per_epoch
from study.data.layouts import LAYOUTS
from study.data.planes import read_planes, thin_out
from study.data.prepare import prepare
from study.data.splits import Split, split_by_well
from study.data.store import Grid, Store
from study.errors import StudyError
from study.models.autoencoder import build, count_operations, count_training_operations, patch_size_of
from study.search.budget import Work, expected_course
from study.search.cluster import connect, describe_places, least_memory, most_on_a_node, share_gpus, trials_at_once
from study.search.confirm import confirm_jobs
from study.search.examine import TIMED_ROUNDS, answer_all
from study.search.jobs import Job
from study.search.recording import Say, format_duration
from study.search.references import references
from study.search.setting import is_prepared, simulate_raw
from study.search.tasks import largest_baseline, sizes_of, task_template
from study.search.tuning import make_searcher
from study.trial.classical import DECONVOLUTIONS
from study.trial.evaluation import score_deconvolution
from study.trial.task import TrialTask
from study.trial.timing import STEPS, WARM_UP_STEPS, Profile, profile_trial

FIELDS = 2  # prepared to measure with: one to train on, one to score
MOST_COPIES = 8  # of a configuration that are measured at once
CONFIRMED = 10**6  # numbers that stand for configurations that the search will find
CHECKPOINT_ARRAYS = 3  # weights and Adam's two moments
IMPORT_S = 8.0  # of the libraries, in the program itself
REPORT_S = 8.0  # the report and its figures, and the record's end
LEDGER_BYTES_AN_IMAGE = 250
REPORT_BYTES = 20 * 2**20
TrialTime = tuple[float, float]  # expected seconds, and what they would be if nobody were stopped


@dataclass(frozen=True)
class Counts:
    """Fields on each side, levels, and images to prepare."""

    split: Split
    levels: int

    @property
    def fields(self) -> int:
        """How many there are in all."""
        return sum(len(side) for side in self.split.to_dict().values())


@dataclass(frozen=True)
class _Costs:
    """What was measured, and what a job takes by it.

    Parameters
    ----------
    config : the study's.
    jobs, profiles : what `_key` of a job returns -> a measured job, and its profile.
    levels : of each field.
    raw_s, prepare_s, reference_s, deconvolution_s : seconds for each field.
    start_s, worker_s : of the program and of a worker, until the first step.
    prepared : whether the study's images are there already.
    most_on_a_node, node_memory : trials on one node at once, and the bytes of memory that the smallest node has for them.
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
    most_on_a_node: int
    node_memory: float

    @property
    def memory_bytes(self) -> int:
        """Of the largest trial."""
        return max(profile.memory_bytes for profile in self.profiles.values())

    def steps(self, job: Job) -> int:
        """Return the training steps of one of its epochs."""
        point, task = job.task["hyperparameters"], job.task
        images = len(task["train"]) * (self.levels - 1)
        patches = patches_of(int(point["image_size"]) // patch_size_of(point), task["patches_per_image"])
        return steps_per_epoch(
            min(images, task["images_per_epoch"] or images), patches=patches, batch_size=int(point.get("batch_size", task["batch_size"]))
        )

    def profile(self, job: Job) -> Profile:
        """Return its profile: measured, or by its operations between those of the measured networks."""
        if (key := _key(job)) in self.profiles:
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
        known = sorted((operations(self.jobs[key]), max(getattr(profile, name), 1e-9)) for key, profile in self.profiles.items())
        xs, ys = np.log(np.array(known)).T
        return float(np.exp(np.interp(math.log(operations(job)), xs, ys)))

    def trial_s(self, job: Job, work: Work, *, seconds: float | None = None) -> TrialTime:
        """Return the seconds that a trial is expected to take, and those that it takes if it is not stopped."""
        profile, budget = self.profile(job), int(job.task["epochs"])
        epoch = self.steps(job) * profile.step_s + (profile.rung_s if job.task["rung_images"] else 0.0)
        score = len(job.task["judge"]) * self.levels * profile.image_s
        if seconds is not None:
            return profile.setup_s + seconds + score, profile.setup_s + seconds + score
        searched = job.phase == "search" and not job.baseline
        epochs, ends = expected_course(self.config, budget=budget) if searched else (float(budget), 1.0)
        return profile.setup_s + epochs * epoch + ends * score, profile.setup_s + budget * epoch + score

    def timing_s(self, job: Job) -> float:
        """Return what one timing of a training step takes."""
        profile = self.profile(job)
        return profile.setup_s + min(self.steps(job), WARM_UP_STEPS + STEPS) * profile.step_s


@dataclass(frozen=True)
class Plan:
    """What a study will take.

    Parameters
    ----------
    parts : part of the study -> expected seconds.
    unstopped_s : seconds if nobody were stopped early.
    gpu_hours : of all trials.
    lines : the plan in words.
    problems : why the study does not fit, in words; empty if it does.
    """

    parts: dict[str, float]
    unstopped_s: float
    gpu_hours: float
    lines: list[str]
    problems: list[str]

    @property
    def seconds(self) -> float:
        """Expected of the whole study."""
        return sum(self.parts.values())


def make_plan(config: StudyConfig, say: Say) -> Plan:
    """Measure on two fields and a few steps, and reckon what the study takes.

    Parameters
    ----------
    config : StudyConfig
        Of the study.
    say : callable
        Prints a line of progress.

    Raises
    ------
    StudyError
        If the images can not be read, or no node of the cluster holds a trial.
    """
    counts = count_fields(config)
    storage = Path(config.storage).resolve()
    storage.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(prefix=".plan-", dir=storage))  # where the cluster's nodes see it
    try:
        store, raw_s, prepare_s = _prepare_sample(config, scratch)
        say(f"{FIELDS} fields of {counts.fields} prepared, to measure on")
        began = time.perf_counter()
        connect(say)
        connect_s = time.perf_counter() - began
        config = share_gpus(config, largest_baseline(config, store, Split([0], [1], [1])), say)
        say(describe_places(config.resources))
        searched, confirmed = _jobs(config, store, counts, scratch)
        jobs, profiles, worker_s = _measure(config, searched + confirmed, say)
        began = time.perf_counter()
        list(references(config, store, [1], "test", skip=()))
        reference_s = time.perf_counter() - began
        costs = _Costs(
            config, jobs, profiles, levels=len(store.levels), raw_s=raw_s, prepare_s=prepare_s, start_s=IMPORT_S + connect_s, worker_s=worker_s,
            reference_s=reference_s, deconvolution_s=_time_deconvolutions(config, store), prepared=is_prepared(config),
            most_on_a_node=most_on_a_node(config.resources), node_memory=least_memory(),
        )  # fmt: skip
        return _reckon(config, counts, store, searched, confirmed, costs, trials_at_once(config.resources))
    finally:
        ray.shutdown()
        shutil.rmtree(scratch, ignore_errors=True)


def count_fields(config: StudyConfig) -> Counts:
    """Count fields and levels, from file names or from what will be simulated, and divide them as the study will."""
    dataset = config.dataset
    layout = LAYOUTS[dataset.kind]
    if dataset.root is None:
        wells = [f"{well:03d}" for well in range(dataset.simulate.wells) for _ in range(dataset.simulate.fields_per_well)]
        wells, levels = wells[: dataset.max_fields], len(dataset.levels or layout.all_levels)
    else:
        planes = thin_out(read_planes(layout, Path(dataset.root), channel=dataset.channel, levels=dataset.levels), dataset.max_fields)
        wells = list({plane.field: plane.well for plane in planes}.values())
        levels = len({plane.level for plane in planes})
    return Counts(split_by_well(wells, test=dataset.test, validation=dataset.validation, seed=derive_seed(config.seed, "split")), levels)


def makespan(durations: Sequence[float], places: int) -> float:
    """Return when the last of some jobs ends, if each starts, in their order, as soon as one of `places` is free."""
    ends = [0.0] * places
    for duration in durations:
        heapq.heapreplace(ends, ends[0] + duration)
    return max(ends)


def _prepare_sample(config: StudyConfig, scratch: Path) -> tuple[Store, float, float]:
    """Prepare two fields; return their store, and the seconds that simulating and preparing a field takes."""
    dataset, raw_s = config.dataset, 0.0
    root = Path(dataset.root) if dataset.root is not None else scratch / "raw"
    if dataset.root is None:
        began = time.perf_counter()
        simulate_raw(replace(config, dataset=replace(dataset, simulate=replace(dataset.simulate, wells=FIELDS, fields_per_well=1))), root)
        raw_s = (time.perf_counter() - began) / FIELDS
    grids = [Grid(size, dataset.resize) for size in config.image_sizes] + [Grid(config.sizes.common, "antialiased")]
    began = time.perf_counter()
    sample = DatasetConfig(kind=dataset.kind, root=str(root), channel=dataset.channel, levels=dataset.levels, max_fields=FIELDS)
    store = prepare(sample, root, scratch / "stores", grids=grids)
    return store, raw_s, (time.perf_counter() - began) / len(store.fields)


def _jobs(config: StudyConfig, store: Store, counts: Counts, scratch: Path) -> tuple[list[Job], list[Job]]:
    """Return the jobs of the search and of the confirmation, asked of the sample as often as the study asks its own images."""
    split = Split(*([index] * len(side) for index, side in zip((0, 1, 1), counts.split.to_dict().values(), strict=True)))
    searched: list[Job] = []
    if config.search.space != "none":
        searcher = make_searcher(config, store, split, folder=scratch, past={})
        while isinstance(proposed := searcher.suggest(str(len(searched))), dict):
            searched.append(Job.of(proposed))
    sizes = sizes_of(config)
    points = {number: _point(label, point, baseline=True) for number, (label, point) in enumerate(baselines(sizes).items())}
    found = sorted((job for job in searched if not job.baseline), key=lambda job: _size(config, store, job))
    for number in range(min(config.confirm.best, len(found))):  # nobody knows who wins: one of middling cost stands for it
        points[CONFIRMED + number] = _point("a winner", found[len(found) // 2].task["hyperparameters"], baseline=False)
    for name in config.confirm.marks:
        known = marks(sizes).get(name)
        middle = found[len(found) // 2].task["hyperparameters"] if found else {}
        points[2 * CONFIRMED + len(points)] = _point(*(known or ("the earlier winner", middle)), baseline=False)
    return searched, confirm_jobs(config, points, task_template(config, store), split, store, epochs={})


def _point(label: str, point: dict[str, Any], *, baseline: bool) -> dict[str, Any]:
    return {"label": label, "hyperparameters": point, "baseline": baseline}


def _size(config: StudyConfig, store: Store, job: Job) -> float:
    return Work(config, store).of(job)[0]


def _measure(config: StudyConfig, jobs: list[Job], say: Say) -> tuple[dict[str, Job], dict[str, Profile], float]:
    """Profile the baselines, the marks, and the smallest, the median and the largest of the searched networks.

    As many copies of each run at once as trials will: on a processor they share caches and memory, and each is slower than one alone.

    Returns
    -------
    dict, dict
        What `_key` returns -> job, and profile: the median over the copies.
    float
        What a worker takes to start.
    """
    store = Store(Path(jobs[0].task["store"]))
    measured = {_key(job): job for job in jobs if job.baseline or job.label in (name for name, _ in marks(sizes_of(config)).values())}
    searched = sorted(
        {_key(job): job for job in jobs if job.phase == "search" and not job.baseline}.values(), key=lambda job: _size(config, store, job)
    )
    measured |= {_key(searched[place]): searched[place] for place in (0, len(searched) // 2, -1)} if searched else {}
    copies = min(MOST_COPIES, trials_at_once(config.resources))
    profiles: dict[str, Profile] = {}
    starts: list[float] = []
    for key, job in (measured).items():
        task = TrialTask(**job.task | {"rung_images": config.search.rung_images if config.search.space != "none" else 0})
        began = time.perf_counter()
        answers: list[dict[str, Any]] = []
        for _, answer in answer_all(config.resources, _profile, [task] * copies):
            if isinstance(answer, str):
                raise StudyError(f"{job.label} could not be measured: {answer}")
            answers.append(answer)
        starts.append(time.perf_counter() - began - max(answer["elapsed_s"] for answer in answers))
        middle = {name: float(np.median([answer[name] for answer in answers])) for name in answers[0]}
        profiles[key] = Profile(
            middle["setup_s"], middle["step_s"], middle["rung_s"], middle["image_s"], int(middle["parameters"]), int(middle["memory_bytes"])
        )
        say(f"measured {len(profiles)}/{len(measured)} | {job.label}: {profiles[key].step_s:.3f} s a step")
    return measured, profiles, max(starts)


def _profile(task: TrialTask) -> dict[str, Any]:
    began = time.perf_counter()
    return asdict(profile_trial(task)) | {"elapsed_s": time.perf_counter() - began}


def _step_operations(job: Job) -> float:
    point = job.task["hyperparameters"]
    return count_training_operations(point, patches=int(point.get("batch_size", job.task["batch_size"])))


def _image_operations(job: Job) -> float:
    return count_operations(job.task["hyperparameters"])


def _time_deconvolutions(config: StudyConfig, store: Store) -> float:
    """Return what all deconvolutions of one field take, if the study asks for any."""
    began = time.perf_counter()
    if config.evaluation.deconvolved_fields:
        for method in DECONVOLUTIONS.values():
            score_deconvolution(method, store, common=Grid(config.sizes.common, "antialiased"), fields=[1], judged_on="test")
    return time.perf_counter() - began


def _key(job: Job) -> str:
    return repr(sorted(job.task["hyperparameters"].items()))


def _reckon(
    config: StudyConfig, counts: Counts, store: Store, searched: list[Job], confirmed: list[Job], costs: _Costs, places: int
) -> Plan:
    """Add up what every part takes, and hold it against the disk and the nodes."""
    work, sides = Work(config, store), counts.split
    expected = [costs.trial_s(job, work) for job in searched]
    last = [costs.trial_s(job, work, seconds=config.confirm.seconds) for job in confirmed]
    judged = len(sides.test) + (len(sides.validation) if searched else 0)
    parts = {
        "the images": 0.0 if costs.prepared else counts.fields * (costs.raw_s + costs.prepare_s),
        "starting": costs.start_s,
        "the references": judged * costs.reference_s + min(config.evaluation.deconvolved_fields, len(sides.test)) * costs.deconvolution_s,
        "the search": makespan([one for one, _ in expected], places) + (costs.worker_s if searched else 0),
        "timing steps": 0.0 if config.confirm.seconds is None else TIMED_ROUNDS * sum(costs.timing_s(job) for job in _firsts(confirmed)),
        "the confirmation": makespan([one for one, _ in last], places) + costs.worker_s,
        "questions to the networks": makespan(list(_questions(config, counts, confirmed, costs)), places),
        "the report": REPORT_S,
    }
    if config.confirm.leak:
        whole = [one for job, (one, _) in zip(confirmed, last, strict=True) if job.label == WHOLE_IMAGE]
        parts["the leak"] = makespan(whole, places) + costs.worker_s
    parts = {name: seconds for name, seconds in parts.items() if seconds}
    unstopped = (
        sum(parts.values())
        - parts.get("the search", 0.0)
        + makespan([one for _, one in expected], places)
        + (costs.worker_s if searched else 0)
    )
    gpus = config.resources.gpus_per_trial
    gpu_hours = 0.0 if gpus == "auto" else gpus * sum(one for one, _ in expected + last) / 3600
    disk = _disk_bytes(config, counts, searched + confirmed, costs)
    problems = list(_misfits(config, disk, costs))
    lines = [
        f"images        {counts.fields} fields at {counts.levels} levels: {len(sides.train)} train, {len(sides.validation)} validation, {len(sides.test)} test"
        + ("; prepared already" if costs.prepared else ""),
        *_table(config, searched, confirmed, costs, work),
        *([_search_line(config, searched, expected)] if searched else []),
        f"confirmation  {len(_firsts(confirmed))} configurations, {config.confirm.replicates} seed{'s' * (config.confirm.replicates > 1)} each, "
        + (f"{config.confirm.seconds:g} s of training" if config.confirm.seconds else f"{config.training.epochs} epochs"),
        "takes         " + ", ".join(f"{name} {format_duration(seconds)}" for name, seconds in parts.items()),
        f"in all        {format_duration(sum(parts.values()))}, {places} trial{'s' * (places > 1)} at once"
        + (f"; {gpu_hours:.1f} GPU hours" if gpu_hours else "; no GPU")
        + (f"; {format_duration(unstopped)} if no trial were stopped early" if unstopped > 1.02 * sum(parts.values()) else ""),
        f"disk          {_gib(disk)} in {Path(config.storage).resolve()}, where {_gib(shutil.disk_usage(Path(config.storage)).free)} are free",
        f"memory        {_gib(costs.memory_bytes)} for the largest trial, {_gib(costs.memory_bytes * costs.most_on_a_node)} for {costs.most_on_a_node} on a node",
        "fits          " + ("yes" if not problems else "no: " + "; ".join(problems)),
    ]
    return Plan(parts, unstopped, gpu_hours, lines, problems)


def _firsts(jobs: list[Job]) -> list[Job]:
    return [job for job in jobs if job.replicate == 0]


def _search_line(config: StudyConfig, searched: list[Job], expected: list[TrialTime]) -> str:
    trials = [job for job in searched if not job.baseline]
    full = sum(int(job.task["epochs"]) for job in trials)
    run = sum(expected_course(config, budget=int(job.task["epochs"]))[0] for job in trials)
    return f"search        {len(trials)} trials and {len(searched) - len(trials)} baselines; of the trials' {full} epochs " + (
        f"{config.search.scheduler} is expected to leave {run:.0f}" if run < full else "all are run"
    )


def _table(config: StudyConfig, searched: list[Job], confirmed: list[Job], costs: _Costs, work: Work) -> Iterator[str]:
    yield "measured      configuration                   parameters  s a step  steps an epoch  s of its score  memory"
    shown: dict[str, Job] = {}
    for job in (*searched, *confirmed):
        shown.setdefault(_key(job), job)
    found = sorted(
        (_key(job) for job in searched if not job.baseline and _key(job) in costs.profiles), key=lambda key: work.of(shown[key])[0]
    )
    names = dict(
        zip(
            found,
            ["smallest searched", "median searched", "largest searched"] if len(found) == 3 else ["searched"] * len(found),
            strict=True,
        )
    )
    for key, profile in costs.profiles.items():
        job = shown[key]
        yield (
            f"              {names.get(key, job.label):<30} {profile.parameters:>11,} {profile.step_s:>9.3f} {costs.steps(job):>15,} "
            f"{len(job.task['judge']) * costs.levels * profile.image_s:>15.1f} {_gib(profile.memory_bytes):>9}"
        )


def _questions(config: StudyConfig, counts: Counts, confirmed: list[Job], costs: _Costs) -> Iterator[float]:
    """Yield the seconds of each question that is asked of the confirmed networks."""
    shown = len(LAYOUTS[config.dataset.kind].shown_levels)
    others = 0
    if config.transfer.root is not None:
        layout = LAYOUTS[config.transfer.kind]
        planes = read_planes(layout, Path(config.transfer.root), channel=config.transfer.channel, levels=config.transfer.levels)
        others = len(thin_out(planes, config.transfer.max_fields))
    for job in confirmed:
        point, image_s = job.task["hyperparameters"], costs.profile(job).image_s
        if others:
            yield others * image_s
        if point.get("patch_size", point["image_size"]) < point["image_size"] and config.dataset.split == "by_well":
            yield 2 * len(counts.split.test) * min(shown, counts.levels) * image_s


def _disk_bytes(config: StudyConfig, counts: Counts, jobs: list[Job], costs: _Costs) -> int:
    grids = {(size, config.dataset.resize) for size in config.image_sizes} | {(config.sizes.common, "antialiased")}
    images = 0 if costs.prepared else 2 * counts.fields * counts.levels * sum(size**2 for size, _ in grids)
    weights = sum(4 * costs.profile(job).parameters * (1 + CHECKPOINT_ARRAYS) for job in jobs)
    scores = sum(len(job.task["judge"]) * counts.levels * LEDGER_BYTES_AN_IMAGE for job in jobs)
    return int(images + weights + scores + REPORT_BYTES)


def _misfits(config: StudyConfig, disk: int, costs: _Costs) -> Iterator[str]:
    free = shutil.disk_usage(Path(config.storage)).free
    if disk > free:
        yield f"it needs {_gib(disk)} of disk, {_gib(free)} are free in {Path(config.storage).resolve()}"
    needed = costs.memory_bytes * costs.most_on_a_node
    if needed > costs.node_memory:
        yield (
            f"{costs.most_on_a_node} trials on a node need {_gib(needed)} of memory, the smallest has {_gib(costs.node_memory)} for them: give each more "
            "resources.cpus_per_trial, so that fewer run at once"
        )


def _gib(size: float) -> str:
    return f"{size / 2**30:.1f} GiB" if size >= 2**30 / 10 else f"{size / 2**20:.0f} MiB"
