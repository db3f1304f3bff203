from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import keras
import pytest

from study.trial import device, timing
from study.trial.task import TrialTask
from study.tune.trainable import KERAS

TOTAL_MIB = 40_960


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What a driver of two GPUs, of which this process sees the second, was asked about."""
    asked: list[str] = []
    gpus: dict[int | str, str] = {0: "GPU 0", 1: "GPU 1", "GPU-5d1e": "GPU 1"}

    def answer(**values: float) -> Callable[[str], SimpleNamespace]:
        def answered(gpu: str) -> SimpleNamespace:
            asked.append(gpu)
            return SimpleNamespace(**values)

        return answered

    driver = {
        "NVMLError": LookupError,
        "nvmlInit": lambda: None,
        "nvmlDeviceGetHandleByIndex": gpus.__getitem__,
        "nvmlDeviceGetHandleByUUID": gpus.__getitem__,
        "nvmlDeviceGetMemoryInfo": answer(total=TOTAL_MIB * 2**20 + 12_345),
        "nvmlDeviceGetUtilizationRates": answer(gpu=37),
        "nvmlDeviceGetName": lambda gpu: f"A100 ({gpu})",
        "nvmlSystemGetDriverVersion": lambda: "550.54",
    }
    monkeypatch.setattr(device, "pynvml", SimpleNamespace(**driver))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")
    return asked


@pytest.mark.parametrize(
    ("visible", "which"),
    [
        (None, ["GPU 0"]),
        ("0", ["GPU 0"]),
        ("1,0", ["GPU 1"]),
        (" 1 , 0", ["GPU 1"]),
        ("GPU-5d1e", ["GPU 1"]),
        ("GPU-5d1e,GPU-77", ["GPU 1"]),
        ("", []),
        ("-1", []),
        ("2", []),
        ("GPU-unknown", []),
    ],
)
def test_the_driver_is_asked_about_the_first_gpu_that_this_process_may_see(
    visible: str | None, which: list[str], asked: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert device.gpu_total_mib() == (TOTAL_MIB if which else None)
    assert asked == which
    assert device.gpu_busy() == (0.37 if which else None)


@pytest.mark.skipif(Path("/dev/nvidiactl").exists(), reason="there is a driver here")
def test_without_a_driver_there_is_no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert device.gpu_total_mib() is None
    assert device.gpu_busy() is None
    assert device.describe_device()["gpu"] == ""


def test_tensorflow_is_kept_to_the_share(asked: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    import tensorflow as tf

    set_for: list[tuple[str, float]] = []
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind: ["the gpu"])
    monkeypatch.setattr(
        tf.config,
        "get_logical_device_configuration",
        lambda gpu: [one for one in set_for if one[0] == gpu],
    )
    monkeypatch.setattr(
        tf.config,
        "set_logical_device_configuration",
        lambda gpu, devices: set_for.append((gpu, devices[0].memory_limit)),
    )
    for _ in range(2):  # a reused worker asks again
        assert device.limit_gpu_memory(0.25) == TOTAL_MIB // 4 - device.CONTEXT_MIB
    assert set_for == [("the gpu", TOTAL_MIB // 4 - device.CONTEXT_MIB)]
    assert set(asked) == {"GPU 1"}


def test_a_worker_is_set_up_for_its_tasks_share_and_says_what_it_is(
    asked: list[str], make_task: Callable[..., TrialTask], monkeypatch: pytest.MonkeyPatch
) -> None:
    import tensorflow as tf

    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind: [])
    monkeypatch.setattr(os, "environ", dict(os.environ))  # it says there how many threads
    place = KERAS.set_up_process(make_task(gpu_share=0.25))
    assert os.environ["OMP_NUM_THREADS"] == "1"
    assert place == {
        "gpu_limit_mib": TOTAL_MIB // 4 - device.CONTEXT_MIB,
        "processor": device.processor_name(),
        "gpu": "A100 (GPU 1), 550.54",
        "backend": f"tensorflow {tf.__version__}",
    }


def test_jax_and_torch_leave_cuda_its_part_too(
    asked: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[float] = []
    cuda = SimpleNamespace(is_available=lambda: True, set_per_process_memory_fraction=told.append)
    monkeypatch.setitem(sys.modules, "torch", SimpleNamespace(cuda=cuda))  # type: ignore[arg-type]
    monkeypatch.setenv("XLA_PYTHON_CLIENT_MEM_FRACTION", "")
    monkeypatch.setenv("XLA_PYTHON_CLIENT_PREALLOCATE", "")
    for backend in ("torch", "jax"):
        monkeypatch.setattr(keras.backend, "backend", lambda name=backend: name)
        assert device.limit_gpu_memory(0.25) == 10_240 - 600
    expected = (10_240 - 600) / TOTAL_MIB
    assert told == [expected]
    assert float(os.environ["XLA_PYTHON_CLIENT_MEM_FRACTION"]) == pytest.approx(expected, abs=1e-4)
    assert os.environ["XLA_PYTHON_CLIENT_PREALLOCATE"] == "false"


def test_the_use_of_a_gpu_is_measured_while_it_trains_and_not_while_the_network_is_built(
    asked: list[str], make_task: Callable[..., TrialTask], monkeypatch: pytest.MonkeyPatch
) -> None:
    built: list[float] = []
    compile_model = timing.compile_model

    def slow(*arguments: Any) -> keras.Model:
        built.append(0)
        return compile_model(*arguments)

    monkeypatch.setattr(timing, "compile_model", slow)
    monkeypatch.setattr(timing, "gpu_peak_bytes", lambda: 3 * 2**30)
    monkeypatch.setattr(timing, "MEASURED_S", 1.0)
    assert timing.measure_share(make_task()) == {
        "bytes": 3.0 * 2**30,
        "total_bytes": float(TOTAL_MIB * 2**20),
        "busy": pytest.approx(0.37),
    }
    assert len(built) == 1


def test_a_device_is_described_by_what_computes_on_it(
    asked: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    import tensorflow as tf

    described = device.describe_device()
    assert (described["gpu"], described["backend"]) == (
        "A100 (GPU 1), 550.54",
        f"tensorflow {tf.__version__}",
    )
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert device.describe_device()["gpu"] == ""


@pytest.mark.parametrize("share", [None, 0.0, 1.0, 2.0])
def test_whole_gpus_and_none_are_not_bounded(share: float | None, asked: list[str]) -> None:
    assert device.limit_gpu_memory(share) is None
    assert asked == []


def test_without_a_gpu_nothing_is_bounded_or_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert device.limit_gpu_memory(0.5) is None
