"""Our metric and loss beside the ways they are usually computed, on one machine in one run.

``python benchmarks/kernels.py [--json FILE]``: medians of paired runs, the two in turn, and their
ratio.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
import tensorflow as tf
from skimage.metrics import structural_similarity

from study.models.losses import ALPHA, C1, C2, SIGMAS_PX, TRUNCATE, msssim_l1
from study.trial.metrics import ssim

RUNS = 7


def msssim_l1_by_convolution(reference: tf.Tensor, restored: tf.Tensor) -> tf.Tensor:
    """Compute the same loss as it is usually written: separable convolutions with reflected
    borders.
    """
    product, luminance = tf.ones_like(restored), None
    for sigma in SIGMAS_PX:
        radius = int(TRUNCATE * sigma + 0.5)
        taps = np.exp(-0.5 * (np.arange(-radius, radius + 1) / sigma) ** 2)
        taps = tf.constant(taps / taps.sum(), tf.float32)

        def blur(images: tf.Tensor, taps: tf.Tensor = taps, radius: int = radius) -> tf.Tensor:
            padded = tf.pad(
                images, [[0, 0], [radius, radius], [radius, radius], [0, 0]], mode="SYMMETRIC"
            )
            rows = tf.nn.conv2d(padded, tf.reshape(taps, (-1, 1, 1, 1)), 1, "VALID")
            return tf.nn.conv2d(rows, tf.reshape(taps, (1, -1, 1, 1)), 1, "VALID")

        x, y = blur(reference), blur(restored)
        xx, yy, xy = (
            blur(reference**2) - x * x,
            blur(restored**2) - y * y,
            blur(reference * restored) - x * y,
        )
        product *= (2 * xy + C2) / (xx + yy + C2)
        luminance = (2 * x * y + C1) / (x * x + y * y + C1)
    error = tf.reduce_mean(tf.abs(reference - restored), axis=(1, 2, 3))
    return ALPHA * (1 - tf.reduce_mean(luminance * product, axis=(1, 2, 3))) + (1 - ALPHA) * error


def gradient_of(
    loss: Callable[[tf.Tensor, tf.Tensor], tf.Tensor],
) -> Callable[[tf.Tensor, tf.Tensor], tf.Tensor]:
    """Return a compiled function that gives the loss's gradient in its second argument."""

    @tf.function
    def gradient(reference: tf.Tensor, restored: tf.Tensor) -> tf.Tensor:
        with tf.GradientTape() as tape:
            tape.watch(restored)
            value = tf.reduce_mean(loss(reference, restored))
        return tape.gradient(value, restored)

    return gradient


def pair(ours: Callable[[], object], theirs: Callable[[], object]) -> dict[str, float]:
    """Time two functions in turn; return the medians and the median of the ratios."""
    times = []
    for _ in range(RUNS + 1):
        row = []
        for function in (ours, theirs):
            started = time.perf_counter()
            function()
            row.append(time.perf_counter() - started)
        times.append(row)
    times = times[1:]
    return {
        "ours_ms": 1000 * statistics.median(row[0] for row in times),
        "usual_ms": 1000 * statistics.median(row[1] for row in times),
        "ratio": statistics.median(row[1] / row[0] for row in times),
    }


def main() -> None:
    """Measure, print a table, and write JSON where asked."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    rng = np.random.default_rng(0)
    x = rng.random((64, 128, 128), dtype=np.float32)
    y = np.clip(x + rng.normal(0, 0.1, x.shape).astype(np.float32), 0, 1)
    results = {
        "SSIM of 64 images of 128 px: in one batch / scikit-image's loop": pair(
            lambda: ssim(x, y, data_range=1.0),
            lambda: [
                structural_similarity(one, other, data_range=1.0)
                for one, other in zip(x, y, strict=True)
            ],
        )
    }
    one, other = tf.constant(x[:16, ..., None]), tf.constant(y[:16, ..., None])
    ours, usual = gradient_of(msssim_l1), gradient_of(msssim_l1_by_convolution)
    gap = float(
        tf.reduce_max(tf.abs(ours(one, other) - usual(one, other)))
        / tf.reduce_max(tf.abs(usual(one, other)))
    )
    results["MS-SSIM + L1 and its gradient, 16 x 128 px: matrices / convolutions"] = pair(
        lambda: ours(one, other).numpy(), lambda: usual(one, other).numpy()
    )
    print(f"{'':66} {'ours':>9} {'usual':>9} {'ratio':>7}")
    for name, row in results.items():
        print(f"{name:66} {row['ours_ms']:6.1f} ms {row['usual_ms']:6.1f} ms {row['ratio']:6.2f}x")
    print(f"largest difference of the two gradients, relative: {gap:.1e}")
    if options.json:
        options.json.write_text(json.dumps(results, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
