"""What stands beside every network: do-nothing, classical restorations, and the ceiling of each
image size.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import Any

from study.config import StudyConfig
from study.data.store import Grid, Store
from study.errors import StudyError
from study.record.ledger import AT_SIZE, CEILING, Ledger, read_events
from study.trial.classical import DECONVOLUTIONS, METHODS, do_nothing
from study.trial.evaluation import score_ceiling, score_classical, score_deconvolution
from study.tune.callbacks import Say
from study.workflow.post_hoc import answer_all


def record_references(
    config: StudyConfig,
    store: Store,
    ledger: Ledger,
    fields: Sequence[int],
    judged_on: str,
    *,
    held_out: list[list[int]] | None = None,
) -> None:
    """Record what learns nothing and the ceilings on one side of the split, unless the ledger has
    them.
    """
    for reference in references(
        config, store, fields, judged_on, skip=_recorded(config), held_out=held_out
    ):
        ledger.append("reference", **reference)


def _recorded(config: StudyConfig) -> set[str]:
    return {
        event["reference"] for event in read_events(config.folder) if event["event"] == "reference"
    }


def record_deconvolutions(
    config: StudyConfig, store: Store, ledger: Ledger, fields: Sequence[int], say: Say
) -> None:
    """Score what classical deconvolution makes of some of the test fields, evenly chosen."""
    count = min(config.evaluation.deconvolved_fields, len(fields))
    if not count:
        return
    if store.layout.kind == "bbbc006" and not store.description["simulated"]:
        say(
            "no deconvolution beside the networks: it needs the true blur, which is known of"
            " simulated planes alone"
        )
        return
    chosen = [fields[index * len(fields) // count] for index in range(count)]
    held = _recorded(config)
    labels = {f"{name}, true blur, {count} fields (test)": name for name in DECONVOLUTIONS}
    left = [label for label in labels if label not in held]
    tasks = [(labels[label], str(store.folder), config.sizes.common, chosen) for label in left]
    for index, answer in answer_all(config.resources, _deconvolve, tasks):
        if isinstance(answer, str):
            raise StudyError(f"{left[index]} could not be scored: {answer}")
        ledger.append("reference", reference=left[index], **answer)
        say(f"scored {left[index]}")


def _deconvolve(task: tuple[str, str, int, list[int]]) -> dict[str, Any]:
    name, store, common, fields = task
    grid = Grid(common, "antialiased")
    return score_deconvolution(
        DECONVOLUTIONS[name], Store(Path(store)), common=grid, fields=fields, judged_on="test"
    ).to_dict()


def references(
    config: StudyConfig,
    store: Store,
    fields: Sequence[int],
    judged_on: str,
    *,
    skip: Collection[str],
    held_out: list[list[int]] | None = None,
) -> Iterator[dict[str, Any]]:
    """Score what learns nothing, and the ceiling of each image size, on some fields; but for the
    names to skip.
    """
    common = Grid(config.sizes.common, "antialiased")
    on: dict[str, Any] = {"common": common, "fields": fields, "judged_on": judged_on}
    for name, method in METHODS.items():
        if (label := f"{name} ({judged_on})") not in skip:
            grid = Grid(config.sizes.whole[0], config.dataset.resize)
            yield {
                "reference": label,
                **score_classical(method, store, grid=grid, held_out=held_out, **on).to_dict(),
            }
    if (
        config.sizes.split != config.sizes.whole[0]
        and (label := f"{AT_SIZE} {config.sizes.split} px ({judged_on})") not in skip
    ):
        grid = Grid(config.sizes.split, config.dataset.resize)
        yield {
            "reference": label,
            **score_classical(do_nothing, store, grid=grid, held_out=held_out, **on).to_dict(),
        }
    for size in config.image_sizes:
        if (label := f"{CEILING} {size} px ({judged_on})") not in skip:
            yield {
                "reference": label,
                **score_ceiling(store, grid=Grid(size, config.dataset.resize), **on).to_dict(),
            }
