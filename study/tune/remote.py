"""Functions called on the cluster beside trials, each with a trial's resources."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import ray

from study.config import ResourcesConfig

Answer = dict[str, Any]


def call_on_cluster(
    resources: ResourcesConfig, function: Callable[[Any], Answer], tasks: Sequence[Any]
) -> Iterator[tuple[int, Answer | str]]:
    """Call a function with each task; yield the task's index and the answer, or why there is none,
    as they come.

    Parameters
    ----------
    resources : ResourcesConfig
        What each call is given, and how often it is tried again after its worker died.
    function : callable
        Runs in a worker.
    tasks : sequence
        One for each call.
    """
    call = ray.remote(
        num_cpus=resources.cpus_per_trial,
        num_gpus=resources.gpus_per_trial,
        max_retries=resources.max_retries,
    )(function)
    waiting = {call.remote(task): index for index, task in enumerate(tasks)}
    while waiting:
        (ready,), _ = ray.wait(list(waiting), num_returns=1)
        index = waiting.pop(ready)
        try:
            yield index, ray.get(ready)
        except ray.exceptions.RayError as error:
            yield index, str(error).strip().splitlines()[-1][:300]
