"""What a study needs of disk and memory, and whether they are there."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from study.planning.costs import Measurements
from study.planning.expected import ExpectedStudy
from study.workflow.setup import resolutions_of

CHECKPOINT_ARRAYS = 3  # weights and Adam's two moments
LEDGER_BYTES_AN_IMAGE = 250
REPORT_BYTES = 20 * 2**20
PIXEL_BYTES = 2


@dataclass(frozen=True)
class Cluster:
    """What the nodes hold.

    Parameters
    ----------
    rooms : sequence
        For each node that holds trials, how many at once, and its bytes of memory for them.
    copies : mapping
        Node that will copy the images -> its free bytes.
    """

    rooms: Sequence[tuple[int, float]]
    copies: Mapping[str, int] = field(default_factory=dict)

    @property
    def places(self) -> int:
        """Trials at once."""
        return sum(count for count, _ in self.rooms)

    @property
    def most_on_a_node(self) -> int:
        """Trials at once on the node that holds most."""
        return max(count for count, _ in self.rooms)


def image_bytes(study: ExpectedStudy) -> int:
    """Return what the prepared images take."""
    resolutions = set(resolutions_of(study.config, study.config.dataset))
    pixels = sum(resolution.size**2 for resolution in resolutions)
    return PIXEL_BYTES * study.counts.fields * study.counts.levels * pixels


def disk_bytes(study: ExpectedStudy, measured: Measurements) -> int:
    """Return what a study will write: images, weights and checkpoints, ledger and report."""
    images = 0 if study.prepared else image_bytes(study)
    parameters = sum(measured.profile(job).parameters for job in study.jobs)
    scored = sum(study.scored_images(job) for job in study.jobs)
    arrays = 4 * parameters * (1 + CHECKPOINT_ARRAYS)
    return images + arrays + scored * LEDGER_BYTES_AN_IMAGE + REPORT_BYTES


def free_bytes(study: ExpectedStudy) -> int:
    """Return what is free where a study will write."""
    return shutil.disk_usage(Path(study.config.storage)).free


def misfits(study: ExpectedStudy, measured: Measurements, cluster: Cluster) -> Iterator[str]:
    """Say what a study needs more of than there is."""
    needed, free = disk_bytes(study, measured), free_bytes(study)
    if needed > free:
        yield (
            f"it needs {gib(needed)} of disk, {gib(free)} are free in"
            f" {Path(study.config.storage).resolve()}"
        )
    copy = image_bytes(study)
    for node, left in cluster.copies.items():
        if copy > left:
            yield (
                f"the copy of the images on node {node} needs {gib(copy)} of disk, {gib(left)}"
                " are free in resources.node_folder"
            )
    for count, memory in dict.fromkeys(cluster.rooms):
        if (together := measured.memory_bytes * count) > memory:
            yield (
                f"{count} trials on a node need {gib(together)} of memory, it has {gib(memory)}"
                " for them: give each more resources.cpus_per_trial, so that fewer run at once"
            )


def gib(size: float) -> str:
    """Return a size as people read it."""
    return f"{size / 2**30:.1f} GiB" if size >= 2**30 / 10 else f"{size / 2**20:.0f} MiB"
