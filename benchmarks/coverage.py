"""How often the interval of a difference holds the truth, how often no difference is called one,
and how often any of three that equal the better of two baselines is.

``python benchmarks/coverage.py [--repeats 2000] [--json FILE]``. The made-up SSIM of a field is a
well's difficulty, shared by both configurations, plus a well's own response to each, a field's
noise, and one number for each training (the seed).
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
import pandas as pd

from analysis.statistics import estimate, holm
from analysis.verdicts import MARGINS, Verdict, judge_difference

SETTINGS = [(13, 3), (29, 3), (48, 3), (77, 3)]  # wells, seeds
GAINS = (0.0, 0.004, 0.02)
DIFFERENT = (Verdict.BETTER, Verdict.WORSE)
WELL, RESPONSE, FIELD, SEED = 0.03, 0.01, 0.01, 0.004  # standard deviations of SSIM


def made_up(
    wells: int, seeds: int, gains: dict[str, float], rng: np.random.Generator
) -> dict[str, pd.DataFrame]:
    """Return the images of a baseline and of candidates that are so much better in truth."""
    difficulty = rng.normal(0, WELL, wells)
    values = {}
    for label, mean in {
        "baseline": 0.8,
        **{name: 0.8 + gain for name, gain in gains.items()},
    }.items():
        response = rng.normal(0, RESPONSE / np.sqrt(2), wells)
        noise = rng.normal(0, FIELD, (seeds, wells)) + rng.normal(0, SEED, (seeds, 1))
        values[label] = (mean + difficulty + response + noise).ravel()
    places = {
        "replicate": np.repeat(np.arange(seeds), wells),
        "well": np.tile(np.arange(wells), seeds),
    }
    return {label: pd.DataFrame(places | {"ssim": column}) for label, column in values.items()}


def any_called(wells: int, seeds: int, rng: np.random.Generator) -> bool:
    """Whether any of three candidates that equal both baselines in truth is called different from
    the better one, as an outcome is judged.
    """
    images = made_up(wells, seeds, dict.fromkeys(("a", "b", "c", "other baseline"), 0.0), rng)
    better = max(("baseline", "other baseline"), key=lambda name: images[name]["ssim"].mean())
    differences = [estimate(images[name], images[better], test=True) for name in ("a", "b", "c")]
    corrected = holm([one.p for one in differences])
    return any(
        judge_difference(one, p, margin=MARGINS["ssim"], scaled_down=False).verdict in DIFFERENT
        for one, p in zip(differences, corrected, strict=True)
    )


def main() -> None:
    """Measure, print a table, and write JSON where asked."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=2000)
    parser.add_argument(
        "--families", action="store_true", help="measure only the error of a family of candidates"
    )
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    results = []
    print("wells seeds   gain  interval holds it  called different")
    for wells, seeds in [] if options.families else SETTINGS:
        for gain in GAINS:
            rng = np.random.default_rng([wells, seeds, int(gain * 1000)])
            held = called = 0
            for _ in range(options.repeats):
                images = made_up(wells, seeds, {"candidate": gain}, rng)
                difference = estimate(images["candidate"], images["baseline"], test=True)
                held += difference.low <= gain <= difference.high
                judgement = judge_difference(
                    difference, difference.p, margin=MARGINS["ssim"], scaled_down=False
                )
                called += judgement.verdict in DIFFERENT
            row = {
                "wells": wells,
                "seeds": seeds,
                "gain": gain,
                "held": held / options.repeats,
                "called": called / options.repeats,
            }
            results.append(row)
            print(
                f"{wells:5} {seeds:5} {gain:6.3f} {row['held']:18.1%} {row['called']:17.1%}",
                flush=True,
            )
    print(
        "\nthree candidates and two baselines, all alike: any called different from the better"
        " baseline (Holm)"
    )
    for wells, seeds in SETTINGS:
        rng = np.random.default_rng([wells, seeds, 7])
        wrong = sum(any_called(wells, seeds, rng) for _ in range(options.repeats))
        results.append(
            {"wells": wells, "seeds": seeds, "family": 3, "called": wrong / options.repeats}
        )
        print(f"{wells:5} {seeds:5} {wrong / options.repeats:17.1%}", flush=True)
    if options.json:
        options.json.write_text(json.dumps(results, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
