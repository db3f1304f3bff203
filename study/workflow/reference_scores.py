"""What stands beside every network: the unrestored input, its best affine fit, and the upper bound
and the right shape at the mean scale of each image size.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from typing import Any

from study.config import StudyConfig
from study.data.store import Resolution, Store
from study.record.events import ReferenceScored
from study.record.identities import Reference, ReferenceRole
from study.record.ledger import Ledger
from study.score import Score
from study.trial.classical import Method, best_affine_fit, unrestored_input
from study.trial.evaluation import score_classical, score_upper_bound
from study.trial.mean_scale import TrainingImages, score_mean_scale

METHODS: dict[ReferenceRole, Method] = {
    ReferenceRole.UNRESTORED_INPUT: unrestored_input,
    ReferenceRole.AFFINE_FIT: best_affine_fit,
}
Scored = tuple[Reference, Score]


def record_references(
    config: StudyConfig,
    store: Store,
    ledger: Ledger,
    fields: Sequence[int],
    eval_split: str,
    *,
    training: TrainingImages,
    held_out: list[list[int]] | None = None,
) -> None:
    """Record what learns nothing and the upper bounds on one side of the split, unless the ledger
    has them; `training` is what the networks beside them learn from.
    """
    known = ledger.history.references
    for reference, score in score_references(
        config, store, fields, eval_split, training=training, skip=known, held_out=held_out
    ):
        ledger.append(ReferenceScored(reference=reference, **vars(score)))


def score_references(
    config: StudyConfig,
    store: Store,
    fields: Sequence[int],
    eval_split: str,
    *,
    training: TrainingImages,
    skip: Collection[Reference],
    held_out: list[list[int]] | None = None,
) -> Iterator[Scored]:
    """Score what learns nothing, and the upper bound and the right shape at the mean scale of each
    image size, on some fields; but for the references to skip.

    Parameters
    ----------
    config : StudyConfig
        The study's.
    store : Store
        The images.
    fields : sequence of int
        Which of them.
    eval_split : str
        What they are.
    training : TrainingImages
        What the networks beside them learn from; not always images of `store`.
    skip : collection of Reference
        What is not scored.
    held_out : list of list of int, optional
        For each field of the store the levels to score; every level if not given.
    """
    evaluation = Resolution(config.evaluation.resolution, "antialiased")
    on: dict[str, Any] = {"evaluation": evaluation, "fields": fields, "eval_split": eval_split}
    whole, split = config.sizes.whole[0], config.sizes.split
    methods = [(Reference(role, eval_split), method, whole) for role, method in METHODS.items()]
    if split != whole:
        at_size = Reference(ReferenceRole.UNRESTORED_INPUT, eval_split, size=split)
        methods.append((at_size, unrestored_input, split))
    for reference, method, size in methods:
        if reference not in skip:
            resolution = Resolution(size, config.dataset.resize)
            yield (
                reference,
                score_classical(method, store, resolution=resolution, held_out=held_out, **on),
            )
    for size in config.image_sizes:
        reference = Reference(ReferenceRole.UPPER_BOUND, eval_split, size=size)
        if reference not in skip:
            resolution = Resolution(size, config.dataset.resize)
            yield reference, score_upper_bound(store, resolution=resolution, **on)
        own_size = None if size == whole else size
        reference = Reference(ReferenceRole.MEAN_SCALE, eval_split, size=own_size)
        # by the range of the pair no scale is hidden: it would be the upper bound again
        if reference not in skip and config.dataset.normalisation == "own":
            resolution = Resolution(size, config.dataset.resize)
            yield (
                reference,
                score_mean_scale(training, store, resolution=resolution, held_out=held_out, **on),
            )
