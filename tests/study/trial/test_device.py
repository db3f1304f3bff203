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

TOTAL_MIB = 40_960


@pytest.fixture
def gpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A driver's program that answers as for GPU 3 of several; what it was asked is written
    down.
    """
    program = tmp_path / "nvidia-smi"
    program.write_text(
        f'#!/bin/sh\necho "$@" >> {tmp_path}/asked\ncase "$1" in *memory.total*) echo {TOTAL_MIB};;'
        " *) echo 37;; esac\n"
    )
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3")
    return tmp_path


def test_tensorflow_is_kept_to_the_share(gpu: Path, monkeypatch: pytest.MonkeyPatch) -> None:
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
    assert "-i 3" in (gpu / "asked").read_text()


def test_jax_and_torch_leave_cuda_its_part_too(gpu: Path, monkeypatch: pytest.MonkeyPatch) -> None:
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
    gpu: Path, make_task: Callable[..., TrialTask], monkeypatch: pytest.MonkeyPatch
) -> None:
    built: list[float] = []
    compile_model = timing.compile_model

    def slow(*arguments: Any) -> keras.Model:
        built.append(0)
        return compile_model(*arguments)

    monkeypatch.setattr(timing, "compile_model", slow)
    monkeypatch.setattr(timing, "gpu_peak_bytes", lambda: 3 * 2**30)
    monkeypatch.setattr(timing, "MEASURED_S", 1.0)
    found = timing.measure_share(make_task())
    assert found == {
        "bytes": 3.0 * 2**30,
        "total_bytes": float(TOTAL_MIB * 2**20),
        "busy": pytest.approx(0.37),
    }
    assert len(built) == 1


def test_a_device_is_described_by_what_computes_on_it(
    gpu: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import tensorflow as tf

    found = device.describe_device()
    assert (found["gpu"], found["backend"]) == (
        "37",
        f"tensorflow {tf.__version__}",
    )  # what the program answers to anything but memory
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert device.describe_device()["gpu"] == ""


@pytest.mark.parametrize("share", [None, 0.0, 1.0, 2.0])
def test_whole_gpus_and_none_are_not_bounded(share: float | None, gpu: Path) -> None:
    assert device.limit_gpu_memory(share) is None
    assert not (gpu / "asked").exists()


def test_without_a_gpu_nothing_is_bounded_or_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert device.limit_gpu_memory(0.5) is None
