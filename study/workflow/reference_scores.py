"""What stands beside every network: unrestored input, classical restorations, and the upper bound
of each image size.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import Any

from study.config import StudyConfig
from study.data.store import Resolution, Store
from study.errors import StudyError
from study.record.ledger import AT_SIZE, UPPER_BOUND, Ledger, read_events
from study.trial.classical import DECONVOLUTIONS, METHODS, unrestored_input
from study.trial.evaluation import score_classical, score_deconvolution, score_upper_bound
from study.tune.callbacks import Log
from study.workflow.post_hoc import answer_all


def record_references(
    config: StudyConfig,
    store: Store,
    ledger: Ledger,
    fields: Sequence[int],
    eval_split: str,
    *,
    held_out: list[list[int]] | None = None,
) -> None:
    """Record what learns nothing and the upper bounds on one side of the split, unless the ledger
    has them.
    """
    for reference in references(
        config, store, fields, eval_split, skip=_recorded(config), held_out=held_out
    ):
        ledger.append("reference", **reference)


def _recorded(config: StudyConfig) -> set[str]:
    return {
        event["reference"] for event in read_events(config.folder) if event["event"] == "reference"
    }


def record_deconvolutions(
    config: StudyConfig, store: Store, ledger: Ledger, fields: Sequence[int], log: Log
) -> None:
    """Score what classical deconvolution makes of some of the test fields, evenly chosen."""
    count = min(config.evaluation.deconvolved_fields, len(fields))
    if not count:
        return
    if not store.blur_known:
        log(
            "no deconvolution beside the networks: it needs the true blur, which is not known of"
            f" these images of {store.layout.title}"
        )
        return
    chosen = [fields[index * len(fields) // count] for index in range(count)]
    held = _recorded(config)
    labels = {f"{name}, true blur, {count} fields (test)": name for name in DECONVOLUTIONS}
    left = [label for label in labels if label not in held]
    tasks = [
        (labels[label], str(store.folder), config.evaluation.resolution, chosen) for label in left
    ]
    for index, answer in answer_all(config.resources, _deconvolve, tasks):
        if isinstance(answer, str):
            raise StudyError(f"{left[index]} could not be scored: {answer}")
        ledger.append("reference", reference=left[index], **answer)
        log(f"scored {left[index]}")


def _deconvolve(task: tuple[str, str, int, list[int]]) -> dict[str, Any]:
    name, store, evaluation, fields = task
    resolution = Resolution(evaluation, "antialiased")
    return score_deconvolution(
        DECONVOLUTIONS[name],
        Store(Path(store)),
        evaluation=resolution,
        fields=fields,
        eval_split="test",
    ).to_dict()


def references(
    config: StudyConfig,
    store: Store,
    fields: Sequence[int],
    eval_split: str,
    *,
    skip: Collection[str],
    held_out: list[list[int]] | None = None,
) -> Iterator[dict[str, Any]]:
    """Score what learns nothing, and the upper bound of each image size, on some fields; but for
    the names to skip.
    """
    evaluation = Resolution(config.evaluation.resolution, "antialiased")
    on: dict[str, Any] = {"evaluation": evaluation, "fields": fields, "eval_split": eval_split}
    for name, method in METHODS.items():
        if (label := f"{name} ({eval_split})") not in skip:
            resolution = Resolution(config.sizes.whole[0], config.dataset.resize)
            yield {
                "reference": label,
                **score_classical(
                    method, store, resolution=resolution, held_out=held_out, **on
                ).to_dict(),
            }
    if (
        config.sizes.split != config.sizes.whole[0]
        and (label := f"{AT_SIZE} {config.sizes.split} px ({eval_split})") not in skip
    ):
        resolution = Resolution(config.sizes.split, config.dataset.resize)
        yield {
            "reference": label,
            **score_classical(
                unrestored_input, store, resolution=resolution, held_out=held_out, **on
            ).to_dict(),
        }
    for size in config.image_sizes:
        if (label := f"{UPPER_BOUND} {size} px ({eval_split})") not in skip:
            yield {
                "reference": label,
                **score_upper_bound(
                    store, resolution=Resolution(size, config.dataset.resize), **on
                ).to_dict(),
            }
