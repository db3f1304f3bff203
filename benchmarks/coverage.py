"""How often the interval of a difference holds the truth, and how often verdicts are wrong, on
made-up scores whose truth is known.

``python benchmarks/coverage.py [--repeats 2000] [--json FILE] [--only CASE ...]``. The made-up SSIM
of a field is a well's difficulty, shared by both configurations, plus a well's own response to
each, a field's noise, and one number for each training (the seed).
"""

from __future__ import annotations

import argparse
import functools
import itertools
import json
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
import pandas as pd

from analysis.endpoint import Endpoint, pseudo_values
from analysis.statistics import Estimate, estimate, holm
from analysis.verdicts import MARGINS, Verdict, judge_difference

SETTINGS = [(13, 3), (29, 3), (48, 3), (77, 3)]  # wells, seeds
GAINS = (0.0, 0.004, 0.02)
MARGIN = MARGINS["ssim"]
COLLAPSE = -0.4  # what a seed that collapsed loses
LEVELS = {  # SSIM of five levels: one is clearly the worst, or two are alike
    "one level clearly worst": (0.9, 0.85, 0.8, 0.75, 0.7),
    "two levels alike": (0.9, 0.85, 0.8, 0.701, 0.7),
}
WORST = Endpoint("worst_ssim")
ALL_WELLS, TEST_SHARE = 60, 0.2  # of studies over splits
# standard deviation of what a well that is trained on adds to a configuration's SSIM, over their
# number: the choice of 48 wells to train on moves a difference by .0014 or .0043
INFLUENCES = {"little": 0.01, "much": 0.03}


@dataclass(frozen=True)
class Noise:
    """Standard deviations of SSIM between wells, their responses, fields and trainings."""

    well: float = 0.03
    response: float = 0.01
    field: float = 0.01
    seed: float = 0.004


SMALL = Noise(response=0.003, field=0.003, seed=0.001)


@dataclass(frozen=True)
class Case:
    """Studies of one kind.

    Parameters
    ----------
    name : what is special about them.
    wells, seeds : in their test set, and trainings of a configuration.
    truth : the true difference.
    draw : makes one; returns the estimate of the difference.
    """

    name: str
    wells: int
    seeds: int
    truth: float
    draw: Callable[[np.random.Generator], Estimate]


def made_up_values(
    wells: int,
    seeds: int,
    gains: dict[str, float],
    rng: np.random.Generator,
    noise: Noise = Noise(),
) -> dict[str, np.ndarray]:
    """Return SSIM of a baseline and of candidates that are so much better in truth, shape (seeds,
    wells).
    """
    difficulty, values = rng.normal(0, noise.well, wells), {}
    for label, gain in {"baseline": 0.0, **gains}.items():
        response = rng.normal(0, noise.response / np.sqrt(2), wells)
        varied = rng.normal(0, noise.field, (seeds, wells))
        trained = rng.normal(0, noise.seed, (seeds, 1))
        values[label] = 0.8 + gain + difficulty + response + varied + trained
    return values


def as_images(values: np.ndarray) -> pd.DataFrame:
    """Return values, shape (seeds, wells), as rows of images."""
    seeds, wells = values.shape
    places = {
        "replicate": np.repeat(np.arange(seeds), wells),
        "well": np.tile(np.arange(wells), seeds),
    }
    return pd.DataFrame(places | {"ssim": values.ravel()})


def means(
    rng: np.random.Generator,
    *,
    wells: int,
    seeds: int,
    gain: float,
    noise: Noise = Noise(),
    collapsed: str = "",
) -> Estimate:
    """Return the difference of two means; the first seed of the one that is named collapsed."""
    values = made_up_values(wells, seeds, {"candidate": gain}, rng, noise)
    if collapsed:
        values[collapsed][0] += COLLAPSE
    return estimate(*(as_images(values[label]) for label in ("candidate", "baseline")), test=True)


def worst_levels(
    rng: np.random.Generator, *, wells: int, seeds: int, gain: float, levels: tuple[float, ...]
) -> Estimate:
    """Return the difference of two worst levels' means, by jackknife."""
    of_levels = [made_up_values(wells, seeds, {"candidate": gain}, rng) for _ in levels]
    places = {
        "level": np.repeat(np.arange(len(levels)), wells),
        "well": np.tile(np.arange(wells), len(levels)),
    }
    tables = []
    for label in ("candidate", "baseline"):
        # shape (levels, seeds, wells)
        ssim = np.array([one[label] for one in of_levels]) + np.reshape(levels, (-1, 1, 1)) - 0.8
        by_seed = [
            pseudo_values(pd.DataFrame(places | {"ssim": ssim[:, seed].ravel()}), WORST)
            for seed in range(seeds)
        ]
        tables.append(as_images(np.array([one["endpoint"] for one in by_seed])))
    return estimate(*tables, test=True)


def over_splits(
    rng: np.random.Generator, *, splits: int, seeds: int, gain: float, influences: float
) -> Estimate:
    """Return the difference over splits of the same wells, each of which a training learns from
    more or less well.
    """
    test, noise = round(ALL_WELLS * TEST_SHARE), Noise()
    difficulty = rng.normal(0, noise.well, ALL_WELLS)
    chosen = [rng.permutation(ALL_WELLS) for _ in range(splits)]
    tables = []
    for label_gain in (gain, 0.0):
        response = rng.normal(0, noise.response / np.sqrt(2), ALL_WELLS)
        influence = rng.normal(0, influences / np.sqrt(2), ALL_WELLS)
        for number, order in enumerate(chosen):
            tested, learned = order[:test], influence[order[test:]].mean()
            of_wells = 0.8 + label_gain + learned + (difficulty + response)[tested]
            seen = rng.normal(0, noise.field, (seeds, test)) + rng.normal(0, noise.seed, (seeds, 1))
            rows = as_images(of_wells + seen).assign(split_number=number)
            rows["replicate"] += number * seeds
            rows["well"] = np.tile(tested, seeds)
            tables.append(rows.assign(test_to_train=TEST_SHARE / (1 - TEST_SHARE)))
    half = len(tables) // 2
    return estimate(pd.concat(tables[:half]), pd.concat(tables[half:]), test=True)


def cases() -> Iterator[Case]:
    """Yield every kind of study that is measured."""
    for wells, seeds in SETTINGS:
        size = {"wells": wells, "seeds": seeds}
        for gain in GAINS:
            yield Case("usual", wells, seeds, gain, functools.partial(means, gain=gain, **size))
        for name, gain in (("small noise", 0.0), ("small noise, at the margin", MARGIN)):
            draw = functools.partial(means, gain=gain, noise=SMALL, **size)
            yield Case(name, wells, seeds, gain, draw)
        draw = functools.partial(means, gain=MARGIN, **size)
        yield Case("usual, at the margin", wells, seeds, MARGIN, draw)
        for label, sign in (("candidate", 1), ("baseline", -1)):
            draw = functools.partial(means, gain=0.0, collapsed=label, **size)
            truth = sign * COLLAPSE / seeds
            yield Case(f"one seed of the {label} collapsed", wells, seeds, truth, draw)
        for name, levels in LEVELS.items():
            draw = functools.partial(worst_levels, gain=0.004, levels=levels, **size)
            yield Case(f"worst level, {name}", wells, seeds, 0.004, draw)
    for splits, (how, influences) in itertools.product((3, 5, 10), INFLUENCES.items()):
        more = {"splits": splits, "influences": influences}
        draw = functools.partial(over_splits, seeds=2, gain=0.004, **more)
        name = f"{splits} splits of {ALL_WELLS} wells, training wells matter {how}"
        yield Case(name, round(ALL_WELLS * TEST_SHARE), 2, 0.004, draw)


def measure(case: Case, repeats: int) -> dict[str, float | str]:
    """Return how often the interval held the truth, and each verdict was given."""
    rng = np.random.default_rng([case.wells, int(1000 * case.truth + 1000), *case.name.encode()])
    held, verdicts = 0, Counter[Verdict]()
    for _ in range(repeats):
        one = case.draw(rng)
        held += one.low <= case.truth <= one.high
        verdicts[judge_difference(one, one.p, margin=MARGIN, scaled_down=False).verdict] += 1
    return {
        "case": case.name,
        "wells": case.wells,
        "seeds": case.seeds,
        "truth": case.truth,
        "held": held / repeats,
        **{
            str(verdict): verdicts[verdict] / repeats
            for verdict in (Verdict.BETTER, Verdict.WORSE, Verdict.SAME, Verdict.INCONCLUSIVE)
        },
    }


def any_called(wells: int, seeds: int, rng: np.random.Generator) -> bool:
    """Whether any of three candidates that equal both baselines in truth is called different from
    the better one, as an outcome is judged.
    """
    others = dict.fromkeys(("a", "b", "c", "other baseline"), 0.0)
    values = made_up_values(wells, seeds, others, rng)
    images = {label: as_images(of_label) for label, of_label in values.items()}
    better = max(("baseline", "other baseline"), key=lambda name: images[name]["ssim"].mean())
    differences = [estimate(images[name], images[better], test=True) for name in ("a", "b", "c")]
    corrected = holm([one.p for one in differences])
    return any(
        judge_difference(one, p, margin=MARGIN, scaled_down=False).verdict
        in (Verdict.BETTER, Verdict.WORSE)
        for one, p in zip(differences, corrected, strict=True)
    )


def main() -> None:
    """Measure, print a table, and write JSON where asked."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=2000)
    parser.add_argument("--only", nargs="+", default=[], help="parts of the names of cases")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()

    def wanted(name: str) -> bool:
        return not options.only or any(part in name for part in options.only)

    results: list[dict[str, float | str]] = []
    print("wells seeds   truth   held better  worse   same  case")
    for case in cases():
        if wanted(case.name):
            row = measure(case, options.repeats)
            results.append(row)
            shares = " ".join(f"{row[name]:6.1%}" for name in ("held", "better", "worse", "same"))
            print(
                f"{case.wells:5} {case.seeds:5} {case.truth:7.3f} {shares}  {case.name}", flush=True
            )
    for wells, seeds in SETTINGS if wanted("family") else []:
        rng = np.random.default_rng([wells, seeds, 7])
        wrong = sum(any_called(wells, seeds, rng) for _ in range(options.repeats))
        rate = wrong / options.repeats
        results.append({"case": "family", "wells": wells, "seeds": seeds, "called": rate})
        print(
            f"{wells:5} {seeds:5}: any of three candidates that equal two baselines is called"
            f" different from the better baseline (Holm): {rate:.1%}",
            flush=True,
        )
    if options.json:
        options.json.write_text(json.dumps(results, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
