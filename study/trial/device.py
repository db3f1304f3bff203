"""The device of a trial: what it is, keeping the process to its share of a GPU's memory, and how
much of it is used.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import platform
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import pynvml

Answer = TypeVar("Answer")

CONTEXT_MIB = 600  # what CUDA itself takes for each process, outside the framework's account


def limit_gpu_memory(share: float | None) -> int | None:
    """Keep this process to a share of its GPU's memory; return that in MiB, or None where there is
    no bound, or no GPU.

    It must come before the first operation of the process; later calls with the same share change
    nothing.

    Parameters
    ----------
    share : float, optional
        Above 0 and below 1; nothing is bounded without it.
    """
    if share is None or not 0 < share < 1:
        return None
    total = gpu_total_mib()
    mib = None if total is None else max(1, int(total * share) - CONTEXT_MIB)
    _limits[_backend()](mib, share if total is None or mib is None else mib / total)
    return mib


@contextlib.contextmanager
def exact_products() -> Iterator[None]:
    """Multiply float32 as float32: from Ampere on NVIDIA's GPUs round the factors of products to 10
    bits (TF32) unless they are told not to.
    """
    with _exact[_backend()]():
        yield


def describe_device() -> dict[str, str]:
    """Return the processor, the GPU with its driver's version (empty without one), and the backend
    of this process with its own.
    """
    gpu = _ask(
        lambda gpu: f"{pynvml.nvmlDeviceGetName(gpu)}, {pynvml.nvmlSystemGetDriverVersion()}"
    )
    return {
        "processor": processor_name(),
        "gpu": gpu or "",
        "backend": f"{_backend()} {importlib.import_module(_backend()).__version__}",
    }


def processor_name() -> str:
    """Return the name of the processor, as Linux knows it."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    return next(
        (line.partition(":")[2].strip() for line in lines if line.startswith("model name")),
        platform.processor(),
    )


def gpu_total_mib() -> int | None:
    """Return the memory of the GPU that this process may see; None where there is none, or its
    driver does not answer.
    """
    return _ask(lambda gpu: int(pynvml.nvmlDeviceGetMemoryInfo(gpu).total) // 2**20)


def gpu_busy() -> float | None:
    """Return the share of the time in which that GPU computed just now."""
    return _ask(lambda gpu: float(pynvml.nvmlDeviceGetUtilizationRates(gpu).gpu) / 100)


def gpu_peak_bytes() -> int:
    """Return the memory of the GPU that this process's arrays took at most."""
    return int(_peaks[_backend()]())


def _limit_tensorflow(mib: int | None, fraction: float) -> None:
    import tensorflow as tf

    for gpu in tf.config.list_physical_devices("GPU"):
        if mib is not None and not tf.config.get_logical_device_configuration(gpu):
            tf.config.set_logical_device_configuration(
                gpu, [tf.config.LogicalDeviceConfiguration(memory_limit=mib)]
            )


def _limit_jax(mib: int | None, fraction: float) -> None:
    os.environ["XLA_PYTHON_CLIENT_PREALLOCATE"] = "false"
    os.environ["XLA_PYTHON_CLIENT_MEM_FRACTION"] = (
        f"{fraction:.4f}"  # read when the first operation runs
    )


def _limit_torch(mib: int | None, fraction: float) -> None:
    import torch

    if torch.cuda.is_available():
        torch.cuda.set_per_process_memory_fraction(fraction)


@contextlib.contextmanager
def _exact_tensorflow() -> Iterator[None]:
    import tensorflow as tf

    before = tf.config.experimental.tensor_float_32_execution_enabled()
    tf.config.experimental.enable_tensor_float_32_execution(False)
    try:
        yield
    finally:
        tf.config.experimental.enable_tensor_float_32_execution(before)


def _exact_jax() -> contextlib.AbstractContextManager[None]:
    import jax

    precision: contextlib.AbstractContextManager[None] = jax.default_matmul_precision("highest")
    return precision


@contextlib.contextmanager
def _exact_torch() -> Iterator[None]:
    import torch

    switches = (torch.backends.cuda.matmul, torch.backends.cudnn)
    before = [one.allow_tf32 for one in switches]
    for one in switches:
        one.allow_tf32 = False
    try:
        yield
    finally:
        for one, value in zip(switches, before, strict=True):
            one.allow_tf32 = value


def _peak_tensorflow() -> int:
    import tensorflow as tf

    return int(tf.config.experimental.get_memory_info("GPU:0")["peak"])


def _peak_jax() -> int:
    import jax

    return int(jax.local_devices()[0].memory_stats()["peak_bytes_in_use"])


def _peak_torch() -> int:
    import torch

    return int(torch.cuda.max_memory_allocated())


def _ask(question: Callable[[Any], Answer]) -> Answer | None:
    """Ask the driver about the first GPU that this process may see; None without one, or where the
    driver does not know.
    """
    visible = os.environ.get("CUDA_VISIBLE_DEVICES", "0").split(",")[0].strip()
    if not visible:
        return None
    try:
        pynvml.nvmlInit()  # after the first time it only counts
        if visible.isdecimal():
            return question(pynvml.nvmlDeviceGetHandleByIndex(int(visible)))
        return question(pynvml.nvmlDeviceGetHandleByUUID(visible))
    except pynvml.NVMLError:
        return None


def _backend() -> str:
    import keras  # here, not above: the driver asks for the processor's name alone

    return str(keras.backend.backend())


_limits: dict[str, Callable[[int | None, float], None]] = {
    "tensorflow": _limit_tensorflow,
    "jax": _limit_jax,
    "torch": _limit_torch,
}
_exact: dict[str, Callable[[], contextlib.AbstractContextManager[None]]] = {
    "tensorflow": _exact_tensorflow,
    "jax": _exact_jax,
    "torch": _exact_torch,
}
_peaks: dict[str, Callable[[], Any]] = {
    "tensorflow": _peak_tensorflow,
    "jax": _peak_jax,
    "torch": _peak_torch,
}
