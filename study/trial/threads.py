"""How many threads a trial computes with."""

from __future__ import annotations

import os

import cv2
import keras


def limit_threads(threads: int) -> None:
    """Give numerical libraries so many threads: one pool that runs one operation after another.

    On processors this is faster than Keras's own setting, and it is what makes a trial's numbers
    repeatable. It must come before the first operation of the process; later calls do not change a
    running TensorFlow or JAX.
    """
    os.environ["TF_NUM_INTRAOP_THREADS"] = os.environ["OMP_NUM_THREADS"] = str(threads)
    os.environ["NPROC"] = str(threads)  # of JAX's pool
    os.environ["TF_NUM_INTEROP_THREADS"] = "1"
    cv2.setNumThreads(threads)
    if keras.backend.backend() == "torch":  # it has read its variable already
        import torch

        torch.set_num_threads(threads)
