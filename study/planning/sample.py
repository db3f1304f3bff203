"""What a study's images will be, counted, and a few of them prepared to measure on."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from pathlib import Path

from study.config import DatasetConfig, StudyConfig, TransferConfig
from study.data.layouts import layout_of
from study.data.planes import Plane, read_planes, thin_out
from study.data.prepare import prepare
from study.data.splits import Split
from study.data.store import Store
from study.trial.task import TrialTask
from study.tune.callbacks import Log
from study.workflow.setup import raw_folder, resolutions_of, simulate_raw
from study.workflow.sides import divide_fields

FIELDS = 2  # in the sample: one to train on, one to score
TRAINED, SCORED = 0, 1


@dataclass(frozen=True)
class Counts:
    """The fields of each side, the numbers of levels and of the transfer's images, and the well of
    each field.
    """

    split: Split
    levels: int
    transfer_images: int
    wells: list[str]

    @property
    def fields(self) -> int:
        """How many there are in all."""
        return len(self.split.every)


@dataclass(frozen=True)
class Sample:
    """A field to train on and one to score, prepared as the study's will be.

    Parameters
    ----------
    store : Store
        Holds them.
    raw_s, prepare_s : float
        What simulating a field took, and preparing it.
    """

    store: Store
    raw_s: float
    prepare_s: float

    def ask(self, task: TrialTask) -> TrialTask:
        """Return a task on the sample that trains on and scores as many images as one of the
        study.
        """
        return replace(
            task,
            store=str(self.store.folder),
            train_fields=[TRAINED] * len(task.train_fields),
            eval_fields=[SCORED] * len(task.eval_fields),
            held_out=None,
        )


def count_images(config: StudyConfig, log: Log) -> Counts:
    """Count fields and levels, from file names or from what will be simulated, and divide them as
    the study will; `log` is told what `divide_fields` says.
    """
    dataset, root = config.dataset, raw_folder(config)
    if dataset.root is None and not root.is_dir():
        simulated = dataset.simulate
        wells = [
            f"{well:03d}"
            for well in range(simulated.wells)
            for _ in range(simulated.fields_per_well)
        ][: dataset.max_fields]
        fields = list(map(str, range(len(wells))))
        levels = len(dataset.levels or layout_of(dataset.kind).all_levels)
        if config.search.warm_start is not None:
            log(
                "the images are not simulated yet: the study itself will look whether it may start"
                " warm with them"
            )
            config = replace(config, search=replace(config.search, warm_start=None))
    else:
        planes = _list_planes(dataset, str(root))
        of_field = {plane.field: plane.well for plane in planes}
        fields, wells = list(of_field), list(of_field.values())
        levels = len({plane.level for plane in planes})
    split = divide_fields(config, fields, wells, log).split
    transfer = config.transfer
    transferred = [] if transfer.root is None else _list_planes(transfer, transfer.root)
    return Counts(split, levels, len(transferred), list(wells))


def _list_planes(dataset: DatasetConfig | TransferConfig, root: str) -> list[Plane]:
    planes = read_planes(
        layout_of(dataset.kind), Path(root), channel=dataset.channel, levels=dataset.levels
    )
    return thin_out(planes, dataset.max_fields)


def prepare_sample(config: StudyConfig, scratch: Path) -> Sample:
    """Prepare a few fields in a folder; they are simulated there first, where the study's will
    be.
    """
    dataset, raw_s = config.dataset, 0.0
    root = Path(dataset.root) if dataset.root is not None else scratch / "raw"
    if dataset.root is None:
        few = replace(dataset.simulate, wells=FIELDS, fields_per_well=1)
        began = time.perf_counter()
        simulate_raw(replace(config, dataset=replace(dataset, simulate=few)), root)
        raw_s = (time.perf_counter() - began) / FIELDS
    sampled = DatasetConfig(
        kind=dataset.kind,
        root=str(root),
        channel=dataset.channel,
        levels=dataset.levels,
        max_fields=FIELDS,
        normalisation=dataset.normalisation,
    )
    began = time.perf_counter()
    resolutions = resolutions_of(config, dataset)
    store = prepare(sampled, root, scratch / "stores", resolutions=resolutions)
    return Sample(store, raw_s, (time.perf_counter() - began) / len(store.fields))
