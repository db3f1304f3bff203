from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from study.trial import device

TOTAL_MIB = 40_960


@pytest.fixture
def gpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A driver's program that answers as for GPU 3 of several; what it was asked is written down."""
    program = tmp_path / "nvidia-smi"
    program.write_text(f'#!/bin/sh\necho "$@" >> {tmp_path}/asked\ncase "$1" in *memory.total*) echo {TOTAL_MIB};; *) echo 37;; esac\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3")
    return tmp_path


def test_tensorflow_is_kept_to_the_share(gpu: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import tensorflow as tf

    set_for: list[tuple[str, float]] = []
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind: ["the gpu"])
    monkeypatch.setattr(tf.config, "get_logical_device_configuration", lambda gpu: [one for one in set_for if one[0] == gpu])
    monkeypatch.setattr(tf.config, "set_logical_device_configuration", lambda gpu, devices: set_for.append((gpu, devices[0].memory_limit)))
    for _ in range(2):  # a reused worker asks again
        assert device.limit_gpu_memory(0.25) == TOTAL_MIB // 4 - device.CONTEXT_MIB
    assert set_for == [("the gpu", TOTAL_MIB // 4 - device.CONTEXT_MIB)]
    assert "-i 3" in (gpu / "asked").read_text()


def test_jax_is_kept_to_the_share() -> None:
    code = (
        "import os; from study.trial.device import _limits; _limits['jax'](0.25, None); print(os.environ['XLA_PYTHON_CLIENT_MEM_FRACTION'])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3"}
    )
    assert float(done.stdout.split()[-1]) == 0.25


@pytest.mark.parametrize("share", [None, 0.0, 1.0, 2.0])
def test_whole_gpus_and_none_are_not_bounded(share: float | None, gpu: Path) -> None:
    assert device.limit_gpu_memory(share) is None
    assert not (gpu / "asked").exists()


def test_without_a_gpu_nothing_is_bounded_or_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert device.limit_gpu_memory(0.5) is None
