"""The GPU of a trial: keeping the process to its share of the memory, and measuring how much of it a trial takes."""

from __future__ import annotations

import os
import subprocess
import threading
import time
from collections.abc import Callable
from typing import Any

import keras

from study.trial.task import TrialTask

CONTEXT_MIB = 600  # what CUDA itself takes for each process, outside the framework's account
SAMPLED_EVERY_S = 0.2
LEAST_MEASURED_S = 5.0


def limit_gpu_memory(share: float | None) -> int | None:
    """Keep this process to a share of its GPU's memory; return that in MiB, or None where there is no bound, or no GPU.

    It must come before the first operation of the process; later calls with the same share change nothing.

    Parameters
    ----------
    share : float, optional
        Above 0 and below 1; nothing is bounded without it.
    """
    if share is None or not 0 < share < 1:
        return None
    limit = _limits[keras.backend.backend()]
    total = _gpu_total_mib()
    mib = None if total is None else max(1, int(total * share) - CONTEXT_MIB)
    limit(share, mib)
    return mib


def measure_share(task: TrialTask) -> dict[str, float] | None:
    """Train some steps of a task on a GPU of its own, and say what they took of it.

    Returns
    -------
    dict or None
        ``bytes`` of memory at most, the GPU's ``total_bytes``, and ``busy``, the share of the time in which it computed; None where there
        is no GPU that can be measured.
    """
    from study.trial.timing import time_steps

    total = _gpu_total_mib()
    if total is None:
        return None
    busy: list[float] = []
    ended = threading.Event()

    def sample() -> None:
        while not ended.wait(SAMPLED_EVERY_S):
            percent = _ask("utilization.gpu")
            if percent is not None:
                busy.append(percent / 100)

    time_steps(task)  # the first compiles
    sampler = threading.Thread(target=sample, daemon=True)
    sampler.start()
    began = time.monotonic()
    while time.monotonic() - began < LEAST_MEASURED_S:
        time_steps(task)
    ended.set()
    sampler.join()
    peak = _peaks[keras.backend.backend()]()
    return {"bytes": float(peak), "total_bytes": float(total * 2**20), "busy": sum(busy) / len(busy) if busy else 1.0}


def _limit_tensorflow(share: float, mib: int | None) -> None:
    import tensorflow as tf

    for gpu in tf.config.list_physical_devices("GPU"):
        if mib is not None and not tf.config.get_logical_device_configuration(gpu):
            tf.config.set_logical_device_configuration(gpu, [tf.config.LogicalDeviceConfiguration(memory_limit=mib)])


def _limit_jax(share: float, mib: int | None) -> None:
    os.environ["XLA_PYTHON_CLIENT_PREALLOCATE"] = "false"
    os.environ["XLA_PYTHON_CLIENT_MEM_FRACTION"] = f"{share:.4f}"  # read when the first operation runs


def _limit_torch(share: float, mib: int | None) -> None:
    import torch

    if torch.cuda.is_available():
        torch.cuda.set_per_process_memory_fraction(share)


def _peak_tensorflow() -> int:
    import tensorflow as tf

    return int(tf.config.experimental.get_memory_info("GPU:0")["peak"])


def _peak_jax() -> int:
    import jax

    return int(jax.local_devices()[0].memory_stats()["peak_bytes_in_use"])


def _peak_torch() -> int:
    import torch

    return int(torch.cuda.max_memory_allocated())


def _gpu_total_mib() -> int | None:
    total = _ask("memory.total")
    return None if total is None else int(total)


def _ask(quantity: str) -> float | None:
    """Return what the driver says of the first GPU that this process may see; None without one."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible == "":
        return None
    command = ["nvidia-smi", f"--query-gpu={quantity}", "--format=csv,noheader,nounits"]
    if visible:
        command += ["-i", visible.split(",")[0]]
    try:
        answer = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
        return float(answer.stdout.splitlines()[0]) if answer.returncode == 0 else None
    except (OSError, subprocess.TimeoutExpired, ValueError, IndexError):
        return None


_limits: dict[str, Callable[[float, int | None], None]] = {"tensorflow": _limit_tensorflow, "jax": _limit_jax, "torch": _limit_torch}
_peaks: dict[str, Callable[[], Any]] = {"tensorflow": _peak_tensorflow, "jax": _peak_jax, "torch": _peak_torch}
