"""Whether a configuration fits together: everything that is wrong is named at once, before anything
is spent.
"""

from __future__ import annotations

import dataclasses
import importlib.util
import operator
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, get_args, get_type_hints

from study.bounds import Bound
from study.config import QUALITIES, SEARCHERS, SimulateConfig, StudyConfig
from study.data.layouts import all_layouts, layout_of
from study.data.planes import Layout
from study.errors import raise_all
from study.wanted_values import did_you_mean

COMPARISONS: dict[str, tuple[Callable[[float, float], bool], str]] = {
    ">=": (operator.ge, "{:g} or more"),
    ">": (operator.gt, "above {:g}"),
    "<": (operator.lt, "below {:g}"),
}


def validate(config: StudyConfig, *, begun: bool = False) -> None:
    """Raise one `StudyError` that names everything that does not fit together in `config`; what
    only a beginning needs, unless it has begun.
    """
    problems = [
        *_check_bounds(config),
        *_check_dataset(config),
        *_check_sizes(config),
        *_check_budget(config),
        *_check_confirmation(config),
        *([] if begun else _check_surroundings(config)),
    ]
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", config.name):
        problems.append(
            "name must be letters, digits, '.', '_' and '-' (64 at most), for it names a folder;"
            f" got {config.name!r}"
        )
    raise_all(problems, heading="The configuration does not fit together")


def _check_bounds(section: Any, prefix: str = "") -> Iterator[str]:
    """Name every number that is out of the bounds which its type declares."""
    hints = get_type_hints(type(section), include_extras=True)
    for item in dataclasses.fields(section):
        key, value, hint = prefix + item.name, getattr(section, item.name), hints[item.name]
        if dataclasses.is_dataclass(value):
            yield from _check_bounds(value, f"{key}.")
        if isinstance(value, int | float):
            for bound in _bounds(hint):
                holds, wanted = COMPARISONS[bound.comparison]
                if not holds(value, bound.limit):
                    yield f"{key} must be {wanted.format(bound.limit)}; got {value}"


def _bounds(hint: Any) -> Iterator[Bound]:
    """Return the bounds of a type, or of those that it is a union of."""
    for part in (hint, *get_args(hint)):
        yield from getattr(part, "__metadata__", ())


def _check_dataset(config: StudyConfig) -> Iterator[str]:
    dataset = config.dataset
    if (dataset.root is None) == (dataset.simulate.wells == 0):
        yield (
            "give either dataset.root (a raw folder in the official layout; `refocus simulate`"
            f" makes one) or dataset.simulate.wells; got root={dataset.root!r},"
            f" simulate.wells={dataset.simulate.wells}"
        )
    for key, kind in (("dataset.kind", dataset.kind), ("transfer.kind", config.transfer.kind)):
        if kind not in all_layouts():
            yield (
                f"{key} must be one of {', '.join(all_layouts())}; got"
                f" {kind!r}{did_you_mean(kind, list(all_layouts()))}"
            )
    if dataset.kind in all_layouts():
        yield from _check_simulation(dataset.simulate, layout_of(dataset.kind))
    if dataset.test == 0:
        yield (
            "dataset.test must be above 0: a study without a test set cannot say what its winner"
            " is worth"
        )
    if dataset.test + dataset.validation >= 1:
        yield (
            f"dataset.test + dataset.validation must leave wells to train on; got {dataset.test} +"
            f" {dataset.validation}"
        )
    if dataset.split == "within_levels" and (
        config.search.space != "none" or dataset.validation > 0 or config.confirm.leak
    ):
        yield (
            "dataset.split: within_levels is there to repeat the paper's own protocol: it needs"
            " search.space: none, dataset.validation: 0 and confirm.leak: false; got"
            f" {config.search.space!r}, {dataset.validation}, {config.confirm.leak}"
        )
    if config.search.space != "none" and dataset.validation == 0:
        yield (
            "a search needs dataset.validation above 0: trials are compared there, never on the"
            " test set"
        )


def _check_simulation(wanted: SimulateConfig, layout: Layout) -> Iterator[str]:
    if layout.simulation is None:
        if wanted.wells:
            yield f"there is no simulation of {layout.title}: give dataset.root"
        return
    if layout.simulation.needs_sharp and wanted.wells and wanted.from_sharp is None:
        yield (
            f"{layout.title} is simulated from real in-focus images alone:"
            " dataset.simulate.from_sharp must name their folder; got none"
        )
    if not 1 <= wanted.fields_per_well <= layout.simulation.max_fields_per_well:
        yield (
            f"a {layout.well_title} of {layout.title} has 1 to"
            f" {layout.simulation.max_fields_per_well} field(s): dataset.simulate.fields_per_well;"
            f" got {wanted.fields_per_well}"
        )


def _check_sizes(config: StudyConfig) -> Iterator[str]:
    sizes, dividing = config.sizes, []
    for size in [
        *sizes.whole,
        sizes.split,
        *sizes.patches,
        *sizes.crops,
        config.evaluation.resolution,
    ]:
        if size < 8 or size % 8:
            yield (
                "image and patch sizes are multiples of 8 (the paper's networks halve an image 3"
                f" times); got {size}"
            )
    if sizes.split > 0:
        dividing = [size for size in range(16, sizes.split + 1, 16) if sizes.split % size == 0]
    for patch in sizes.patches:
        if sizes.split % max(patch, 1):
            yield (
                f"sizes.patches must divide sizes.split; got patch size {patch}, image size"
                f" {sizes.split}. Patch sizes that fit: {', '.join(map(str, dividing))}"
            )
    for crop in sizes.crops:
        if apart := [size for size in sizes.whole if size % max(crop, 1)]:
            yield (
                f"sizes.crops must divide every size of sizes.whole; {crop} does not divide"
                f" {', '.join(map(str, apart))}"
            )
    if not sizes.whole or not sizes.patches:
        yield (
            f"sizes.whole and sizes.patches need one size at least; got {sizes.whole} and"
            f" {sizes.patches}"
        )
    paper = (sizes.whole[:1], sizes.split, sizes.patches[:1]) == ([128], 768, [128])
    if not paper and not config.scaled_down:
        yield (
            "the baselines' sizes are the paper's: sizes.whole starts with 128, sizes.split is 768"
            f" and sizes.patches starts with 128; got {sizes.whole}, {sizes.split},"
            f" {sizes.patches}. To try the program on smaller ones set scaled_down: true; every"
            " table then says so"
        )


def _check_budget(config: StudyConfig) -> Iterator[str]:
    gpus = config.resources.gpus_per_trial
    if gpus != "auto" and gpus > 1 and gpus != int(gpus):
        yield f"resources.gpus_per_trial above 1 must be a whole number; got {gpus}"
    if (
        config.resources.node_folder is not None
        and not Path(config.resources.node_folder).is_absolute()
    ):
        yield (
            "resources.node_folder must be an absolute path, for it is looked for on every node;"
            f" got {config.resources.node_folder!r}"
        )
    others = config.search.objectives[1:]
    if (
        config.search.objectives[:1] not in [[name] for name in QUALITIES]
        or any(name in QUALITIES for name in others)
        or len(set(others)) < len(others)
    ):
        yield (
            f"search.objectives starts with one of {', '.join(QUALITIES)}, and costs may follow,"
            f" each once: parameters, gflop, latency_ms; got {config.search.objectives}"
        )
    if (
        config.search.level_weights is not None
        and min(config.search.level_weights.values(), default=0) <= 0
    ):
        yield (
            f"search.level_weights must be above 0; got {config.search.level_weights}. To leave a"
            " level out use dataset.levels"
        )
    if config.search.searcher == "grid" and config.search.space == "beyond":
        yield (
            "search.searcher grid needs a space without continuous hyperparameters; beyond has"
            " learning_rate. Take tpe or random"
        )
    if config.search.searcher == "cmaes" and others:
        yield (
            f"search.searcher cmaes takes one objective; got {config.search.objectives}. Take tpe"
            " or nsga2"
        )
    if config.search.space != "none" and config.search.trials == 0:
        yield (
            "search.trials must be 1 or more; got 0. To run the baselines alone set search.space to"
            " none"
        )


def _check_confirmation(config: StudyConfig) -> Iterator[str]:
    if config.confirm.seconds is not None and config.confirm.steps is not None:
        yield (
            "confirm.seconds and confirm.steps are two budgets for one training: give one; got"
            f" {config.confirm.seconds:g} s and {config.confirm.steps} steps"
        )
    if config.confirm.splits > 1:
        if config.confirm.splits == 2:
            yield "confirm.splits must be 1, or 3 or more: two splits give no interval; got 2"
        if config.dataset.split == "within_levels" or config.search.warm_start is not None:
            yield (
                "confirm.splits above 1 draws other wells for the test set: it needs dataset.split:"
                " by_well and no search.warm_start; got"
                f" {config.dataset.split!r}, {config.search.warm_start!r}"
            )
    tuned = [name for name in config.confirm.comparators if name.startswith("tuned_")]
    if tuned and config.search.space == "none":
        yield (
            f"confirm.comparators: {', '.join(tuned)} takes the winner's training, but nothing is"
            " searched (search.space: none)"
        )
    if "earlier" in config.confirm.comparators and config.search.warm_start is None:
        yield "confirm.comparators: earlier is the winner of search.warm_start, which is not given"
    if config.confirm.best == "front" and not config.search.objectives[1:]:
        yield "confirm.best: front needs costs in search.objectives, such as [ssim, parameters]"


def _check_surroundings(config: StudyConfig) -> Iterator[str]:
    if config.search.searcher not in SEARCHERS:
        yield (
            f"search.searcher must be one of {', '.join(SEARCHERS)}; got"
            f" {config.search.searcher!r}{did_you_mean(config.search.searcher, SEARCHERS)}"
        )
    if (
        config.search.warm_start is not None
        and not Path(config.search.warm_start, "ledger.jsonl").is_file()
    ):
        yield (
            f"search.warm_start must name the folder of a study; {config.search.warm_start} holds"
            " no ledger.jsonl"
        )
    for searcher, package in (("gp", "torch"), ("cmaes", "cmaes")):
        if config.search.searcher == searcher and importlib.util.find_spec(package) is None:
            yield (
                f"search.searcher {searcher} needs the package {package}: pip install {package}, or"
                " take tpe"
            )
