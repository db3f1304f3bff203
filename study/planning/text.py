"""A plan in words."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from study.planning.estimates import Estimate
from study.planning.expected import ExpectedStudy
from study.planning.fits import Cluster, disk_bytes, free_bytes, gib
from study.record.identities import Role
from study.tune.budget import expected_course
from study.tune.callbacks import format_duration
from study.workflow.confirmation import first_replicates
from study.workflow.stages import Stage

MENTIONED = 1.02  # the time without early stopping is, if it is so many times as long


def describe_plan(estimate: Estimate, cluster: Cluster, problems: Sequence[str]) -> list[str]:
    """Return the lines of a plan: images, networks, stages, and whether it fits."""
    study = estimate.study
    lines = [f"images        {_images(study)}", *_table(estimate)]
    if Stage.SEARCH in study.stages:
        lines.append(f"search        {_search(study)}")
    return [
        *lines,
        f"confirmation  {_confirmation(study)}",
        f"takes         {_parts(estimate)}",
        f"in all        {_total(estimate)}",
        f"disk          {_disk(estimate)}",
        f"memory        {_memory(estimate, cluster)}",
        "fits          " + ("yes" if not problems else "no: " + "; ".join(problems)),
    ]


def _images(study: ExpectedStudy) -> str:
    counts, split = study.counts, study.counts.split
    return (
        f"{counts.fields} fields at {counts.levels} levels: {len(split.train)} train,"
        f" {len(split.validation)} validation, {len(split.test)} test"
        + ("; prepared already" if study.prepared else "")
    )


def _table(estimate: Estimate) -> Iterator[str]:
    yield (
        "measured      configuration                   parameters  s a step  steps an epoch  s of"
        " its score  memory"
    )
    for network in estimate.measured.networks.values():
        profile, job = network.profile, network.job
        yield (
            f"              {network.title:<30} {profile.parameters:>11,} {profile.step_s:>9.3f}"
            f" {estimate.steps(job):>15,} {estimate.score_s(job):>15.1f}"
            f" {gib(profile.memory_bytes):>9}"
        )


def _search(study: ExpectedStudy) -> str:
    budgets = [job.task.epochs for job in study.searched if job.role == Role.SEARCHED]
    whole = sum(budgets)
    expected = sum(expected_course(study.config, budget=budget)[0] for budget in budgets)
    return (
        f"{len(budgets)} trials and {len(study.searched) - len(budgets)} baselines; of the trials'"
        f" {whole} epochs "
        + (
            f"{study.config.search.scheduler} is expected to leave {expected:.0f}"
            if expected < whole
            else "all are run"
        )
    )


def _confirmation(study: ExpectedStudy) -> str:
    config, confirm = study.config, study.config.confirm
    budget = f"{config.training.epochs} epochs"
    if confirm.seconds is not None:
        budget = f"{confirm.seconds:g} s of training"
    elif confirm.steps is not None:
        budget = f"{confirm.steps:,} steps"
    return (
        f"{len(first_replicates(study.confirmed))} configurations, {confirm.replicates}"
        f" seed{'s' * (confirm.replicates > 1)} each"
        + (f" on each of {confirm.splits} splits" if confirm.splits > 1 else "")
        + f", {budget}"
    )


def _parts(estimate: Estimate) -> str:
    return ", ".join(f"{name} {format_duration(took)}" for name, took in estimate.parts.items())


def _total(estimate: Estimate) -> str:
    places, gpu_hours = estimate.places, estimate.gpu_hours
    seconds, unstopped = estimate.seconds, estimate.unstopped_s
    return (
        f"{format_duration(seconds)}, {places} trial{'s' * (places > 1)} at once"
        + (f"; {gpu_hours:.1f} GPU hours" if gpu_hours else "; no GPU")
        + (
            f"; {format_duration(unstopped)} if no trial were stopped early"
            if unstopped > MENTIONED * seconds
            else ""
        )
    )


def _disk(estimate: Estimate) -> str:
    study = estimate.study
    return (
        f"{gib(disk_bytes(study, estimate.measured))} in {Path(study.config.storage).resolve()},"
        f" where {gib(free_bytes(study))} are free"
    )


def _memory(estimate: Estimate, cluster: Cluster) -> str:
    largest, most = estimate.measured.memory_bytes, cluster.most_on_a_node
    return f"{gib(largest)} for the largest trial, {gib(largest * most)} for {most} on a node"
