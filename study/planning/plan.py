"""What a study will take, before anything is spent: measured on a few steps and two fields, here or
on the cluster it is pointed at.
"""

from __future__ import annotations

import heapq
import shutil
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import ray

from search_spaces.baselines import WHOLE_IMAGE, baselines
from search_spaces.comparators import comparators
from study.config import DatasetConfig, StudyConfig, derive_seed
from study.data.layouts import layout_of
from study.data.planes import read_planes, thin_out
from study.data.prepare import prepare
from study.data.splits import Split, split_by_well
from study.data.store import Store
from study.planning.costs import (
    Costs,
    TrialTime,
    key_of,
    measure_networks,
    time_deconvolutions,
    training_size,
)
from study.tune.budget import Work, expected_course
from study.tune.callbacks import Log, format_duration
from study.tune.cluster import (
    check_nodes,
    connect,
    describe_places,
    free_on_nodes,
    node_rooms,
    share_gpus,
    trials_at_once,
)
from study.tune.proposals import make_searcher
from study.tune.tasks import largest_baseline, sizes_of, task_template
from study.tune.trainable import Job
from study.workflow.confirmation import confirm_jobs
from study.workflow.post_hoc import TIMED_ROUNDS
from study.workflow.reference_scores import references
from study.workflow.setup import is_prepared, resolutions_of, simulate_raw

FIELDS = 2  # prepared to measure with: one to train on, one to score
CONFIRMED = 10**6  # numbers that stand for configurations that the search will find
EXPECTED_FRONT = 5  # trials on a front of quality and cost
CHECKPOINT_ARRAYS = 3  # weights and Adam's two moments
IMPORT_S = 8.0  # of the libraries, in the program itself
REPORT_S = 8.0  # the report and its figures, and the record's end
LEDGER_BYTES_AN_IMAGE = 250
REPORT_BYTES = 20 * 2**20


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


def make_plan(config: StudyConfig, log: Log) -> Plan:
    """Measure on two fields and a few steps, and reckon what the study takes.

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
    counts = count_fields(config)
    storage = Path(config.storage).resolve()
    storage.mkdir(parents=True, exist_ok=True)
    scratch = Path(
        tempfile.mkdtemp(prefix=".plan-", dir=storage)
    )  # where the cluster's nodes see it
    try:
        store, raw_s, prepare_s = _prepare_sample(config, scratch)
        log(f"{FIELDS} fields of {counts.fields} prepared, to measure on")
        began = time.perf_counter()
        connect(log)
        connect_s = time.perf_counter() - began
        near, config = (
            config.resources.node_folder,
            replace(config, resources=replace(config.resources, node_folder=None)),
        )
        check_nodes(config, store, log)
        config = share_gpus(config, largest_baseline(config, store, Split([0], [1], [1])), log)
        log(describe_places(config.resources))
        searched, confirmed = _jobs(config, store, counts, scratch)
        jobs, profiles, worker_s = measure_networks(config, searched + confirmed, log)
        began = time.perf_counter()
        list(references(config, store, [1], "test", skip=()))
        reference_s = time.perf_counter() - began
        costs = Costs(
            config,
            jobs,
            profiles,
            levels=len(store.levels),
            raw_s=raw_s,
            prepare_s=prepare_s,
            start_s=IMPORT_S + connect_s,
            worker_s=worker_s,
            reference_s=reference_s,
            deconvolution_s=time_deconvolutions(config, store),
            prepared=is_prepared(config),
            rooms=node_rooms(config.resources),
        )
        copies = free_on_nodes(near) if near else {}
        return _estimate(
            config,
            counts,
            store,
            searched,
            confirmed,
            costs,
            trials_at_once(config.resources),
            copies,
        )
    finally:
        ray.shutdown()
        shutil.rmtree(scratch, ignore_errors=True)


def count_fields(config: StudyConfig) -> Counts:
    """Count fields and levels, from file names or from what will be simulated, and divide them as
    the study will.
    """
    dataset = config.dataset
    layout = layout_of(dataset.kind)
    if dataset.root is None:
        wells = [
            f"{well:03d}"
            for well in range(dataset.simulate.wells)
            for _ in range(dataset.simulate.fields_per_well)
        ]
        wells, levels = wells[: dataset.max_fields], len(dataset.levels or layout.all_levels)
    else:
        planes = thin_out(
            read_planes(layout, Path(dataset.root), channel=dataset.channel, levels=dataset.levels),
            dataset.max_fields,
        )
        wells = list({plane.field: plane.well for plane in planes}.values())
        levels = len({plane.level for plane in planes})
    return Counts(
        split_by_well(
            wells,
            test=dataset.test,
            validation=dataset.validation,
            seed=derive_seed(config.seed, "split"),
        ),
        levels,
    )


def makespan(durations: Sequence[float], places: int) -> float:
    """Return when the last of some jobs ends, if each starts, in their order, as soon as one of
    `places` is free.
    """
    ends = [0.0] * places
    for duration in durations:
        heapq.heapreplace(ends, ends[0] + duration)
    return max(ends)


def _prepare_sample(config: StudyConfig, scratch: Path) -> tuple[Store, float, float]:
    """Prepare two fields; return their store, and the seconds that simulating and preparing a field
    takes.
    """
    dataset, raw_s = config.dataset, 0.0
    root = Path(dataset.root) if dataset.root is not None else scratch / "raw"
    if dataset.root is None:
        began = time.perf_counter()
        simulate_raw(
            replace(
                config,
                dataset=replace(
                    dataset, simulate=replace(dataset.simulate, wells=FIELDS, fields_per_well=1)
                ),
            ),
            root,
        )
        raw_s = (time.perf_counter() - began) / FIELDS
    began = time.perf_counter()
    sample = DatasetConfig(
        kind=dataset.kind,
        root=str(root),
        channel=dataset.channel,
        levels=dataset.levels,
        max_fields=FIELDS,
    )
    store = prepare(sample, root, scratch / "stores", resolutions=resolutions_of(config, dataset))
    return store, raw_s, (time.perf_counter() - began) / len(store.fields)


def _jobs(
    config: StudyConfig, store: Store, counts: Counts, scratch: Path
) -> tuple[list[Job], list[Job]]:
    """Return the jobs of the search and of the confirmation, asked of the sample as often as the
    study asks its own images.
    """
    split = Split(
        *(
            [index] * len(side)
            for index, side in zip((0, 1, 1), counts.split.to_dict().values(), strict=True)
        )
    )
    searched: list[Job] = []
    if config.search.space != "none":
        searcher = make_searcher(config, store, split, folder=scratch, past={})
        while isinstance(proposed := searcher.suggest(str(len(searched))), dict):
            searched.append(Job.of(proposed))
    sizes = sizes_of(config)
    configurations = {
        number: _configuration(label, hyperparameters, baseline=True)
        for number, (label, hyperparameters) in enumerate(baselines(sizes).items())
    }
    found = sorted(
        (job for job in searched if not job.baseline),
        key=lambda job: training_size(config, store, job),
    )
    best = EXPECTED_FRONT if config.confirm.best == "front" else config.confirm.best
    for number in range(
        min(best, len(found))
    ):  # nobody knows who wins: one of middling cost stands for it
        configurations[CONFIRMED + number] = _configuration(
            "a winner", found[len(found) // 2].task["hyperparameters"], baseline=False
        )
    for name in config.confirm.comparators:
        known = comparators(sizes).get(name)
        middle = found[len(found) // 2].task["hyperparameters"] if found else {}
        configurations[2 * CONFIRMED + len(configurations)] = _configuration(
            *(known or ("the earlier winner", middle)), baseline=False
        )
    return searched, confirm_jobs(
        config, configurations, task_template(config, store), split, store, epochs={}
    )


def _configuration(
    label: str, hyperparameters: dict[str, Any], *, baseline: bool
) -> dict[str, Any]:
    return {"label": label, "hyperparameters": hyperparameters, "baseline": baseline}


def _estimate(
    config: StudyConfig,
    counts: Counts,
    store: Store,
    searched: list[Job],
    confirmed: list[Job],
    costs: Costs,
    places: int,
    copies: dict[str, int],
) -> Plan:
    """Add up what every part takes, and hold it against the disk and the nodes; `copies`: free
    bytes on nodes that will copy the images.
    """
    work, sides = Work(config, store), counts.split
    expected = [costs.trial_s(job, work) for job in searched]
    last = [costs.trial_s(job, work, seconds=config.confirm.seconds) for job in confirmed]
    judged = len(sides.test) + (len(sides.validation) if searched else 0)
    parts = {
        "the images": 0.0 if costs.prepared else counts.fields * (costs.raw_s + costs.prepare_s),
        "starting": costs.start_s,
        "the references": (
            judged * costs.reference_s
            + min(config.evaluation.deconvolved_fields, len(sides.test)) * costs.deconvolution_s
        ),
        "the search": (
            makespan([one for one, _ in expected], places) + (costs.worker_s if searched else 0)
        ),
        "timing steps": (
            0.0
            if config.confirm.seconds is None
            else TIMED_ROUNDS * sum(costs.timing_s(job) for job in _firsts(confirmed))
        ),
        "the confirmation": makespan([one for one, _ in last], places) + costs.worker_s,
        "questions to the networks": makespan(
            list(_questions(config, counts, confirmed, costs)), places
        ),
        "the report": REPORT_S,
    }
    if config.confirm.leak:
        whole = [
            one for job, (one, _) in zip(confirmed, last, strict=True) if job.label == WHOLE_IMAGE
        ]
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
    problems = list(_misfits(config, disk, costs, copies, _image_bytes(config, counts)))
    most = max(count for count, _ in costs.rooms)
    lines = [
        f"images        {counts.fields} fields at {counts.levels} levels: {len(sides.train)} train,"
        f" {len(sides.validation)} validation, {len(sides.test)} test"
        + ("; prepared already" if costs.prepared else ""),
        *_table(config, searched, confirmed, costs, work),
        *([_search_line(config, searched, expected)] if searched else []),
        f"confirmation  {len(_firsts(confirmed))} configurations, {config.confirm.replicates}"
        f" seed{'s' * (config.confirm.replicates > 1)} each, "
        + (
            f"{config.confirm.seconds:g} s of training"
            if config.confirm.seconds
            else f"{config.training.epochs} epochs"
        ),
        "takes         "
        + ", ".join(f"{name} {format_duration(seconds)}" for name, seconds in parts.items()),
        f"in all        {format_duration(sum(parts.values()))}, {places} trial{'s' * (places > 1)}"
        " at once"
        + (f"; {gpu_hours:.1f} GPU hours" if gpu_hours else "; no GPU")
        + (
            f"; {format_duration(unstopped)} if no trial were stopped early"
            if unstopped > 1.02 * sum(parts.values())
            else ""
        ),
        (
            f"disk          {_gib(disk)} in {Path(config.storage).resolve()}, where"
            f" {_gib(shutil.disk_usage(Path(config.storage)).free)} are free"
        ),
        (
            f"memory        {_gib(costs.memory_bytes)} for the largest trial,"
            f" {_gib(costs.memory_bytes * most)} for {most} on a node"
        ),
        "fits          " + ("yes" if not problems else "no: " + "; ".join(problems)),
    ]
    return Plan(parts, unstopped, gpu_hours, lines, problems)


def _firsts(jobs: list[Job]) -> list[Job]:
    return [job for job in jobs if job.replicate == 0]


def _search_line(config: StudyConfig, searched: list[Job], expected: list[TrialTime]) -> str:
    trials = [job for job in searched if not job.baseline]
    full = sum(int(job.task["epochs"]) for job in trials)
    run = sum(expected_course(config, budget=int(job.task["epochs"]))[0] for job in trials)
    return (
        f"search        {len(trials)} trials and {len(searched) - len(trials)} baselines; of the"
        f" trials' {full} epochs "
        + (
            f"{config.search.scheduler} is expected to leave {run:.0f}"
            if run < full
            else "all are run"
        )
    )


def _table(
    config: StudyConfig, searched: list[Job], confirmed: list[Job], costs: Costs, work: Work
) -> Iterator[str]:
    yield (
        "measured      configuration                   parameters  s a step  steps an epoch  s of"
        " its score  memory"
    )
    shown: dict[str, Job] = {}
    for job in (*searched, *confirmed):
        shown.setdefault(key_of(job), job)
    found = sorted(
        (key_of(job) for job in searched if not job.baseline and key_of(job) in costs.profiles),
        key=lambda key: work.of(shown[key])[0],
    )
    names = dict(
        zip(
            found,
            (
                ["smallest searched", "median searched", "largest searched"]
                if len(found) == 3
                else ["searched"] * len(found)
            ),
            strict=True,
        )
    )
    for key, profile in costs.profiles.items():
        job = shown[key]
        yield (
            f"              {names.get(key, job.label):<30} {profile.parameters:>11,}"
            f" {profile.step_s:>9.3f} {costs.steps(job):>15,}"
            f" {len(job.task['eval_fields']) * costs.levels * profile.image_s:>15.1f}"
            f" {_gib(profile.memory_bytes):>9}"
        )


def _questions(
    config: StudyConfig, counts: Counts, confirmed: list[Job], costs: Costs
) -> Iterator[float]:
    """Yield the seconds of each question that is asked of the confirmed networks."""
    shown = len(layout_of(config.dataset.kind).shown_levels)
    others = 0
    if config.transfer.root is not None:
        layout = layout_of(config.transfer.kind)
        planes = read_planes(
            layout,
            Path(config.transfer.root),
            channel=config.transfer.channel,
            levels=config.transfer.levels,
        )
        others = len(thin_out(planes, config.transfer.max_fields))
    for job in confirmed:
        hyperparameters, image_s = job.task["hyperparameters"], costs.profile(job).image_s
        if others:
            yield others * image_s
        if (
            hyperparameters.get("patch_size", hyperparameters["image_size"])
            < hyperparameters["image_size"]
            and config.dataset.split == "by_well"
        ):
            yield 2 * len(counts.split.test) * min(shown, counts.levels) * image_s


def _image_bytes(config: StudyConfig, counts: Counts) -> int:
    return (
        2
        * counts.fields
        * counts.levels
        * sum(resolution.size**2 for resolution in set(resolutions_of(config, config.dataset)))
    )


def _disk_bytes(config: StudyConfig, counts: Counts, jobs: list[Job], costs: Costs) -> int:
    images = 0 if costs.prepared else _image_bytes(config, counts)
    weights = sum(4 * costs.profile(job).parameters * (1 + CHECKPOINT_ARRAYS) for job in jobs)
    scores = sum(
        len(job.task["eval_fields"]) * counts.levels * LEDGER_BYTES_AN_IMAGE for job in jobs
    )
    return int(images + weights + scores + REPORT_BYTES)


def _misfits(
    config: StudyConfig, disk: int, costs: Costs, copies: dict[str, int], copy: int
) -> Iterator[str]:
    free = shutil.disk_usage(Path(config.storage)).free
    if disk > free:
        yield (
            f"it needs {_gib(disk)} of disk, {_gib(free)} are free in"
            f" {Path(config.storage).resolve()}"
        )
    for node, left in copies.items():
        if copy > left:
            yield (
                f"the copy of the images on node {node} needs {_gib(copy)} of disk, {_gib(left)}"
                " are free in resources.node_folder"
            )
    for count, memory in set(costs.rooms):
        if costs.memory_bytes * count > memory:
            yield (
                f"{count} trials on a node need {_gib(costs.memory_bytes * count)} of memory, it"
                f" has {_gib(memory)} for them: give each more resources.cpus_per_trial, so that"
                " fewer run at once"
            )


def _gib(size: float) -> str:
    return f"{size / 2**30:.1f} GiB" if size >= 2**30 / 10 else f"{size / 2**20:.0f} MiB"
