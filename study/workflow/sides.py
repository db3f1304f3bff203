"""Which fields a study trains on, chooses on and tests on: its own draw, or the split of the study
that it starts warm from.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from study.config import StudyConfig, derive_seed
from study.data.splits import Split, split_by_well
from study.errors import StudyError
from study.record.events import StudyBegun
from study.record.ledger import FILE_NAME, read_history
from study.tune.callbacks import Log

NAMED = 5  # fields of a refusal


@dataclass(frozen=True)
class Sides:
    """The fields of each side.

    Parameters
    ----------
    split : Split
        Which fields are on which side.
    inherited_from : str, optional
        The folder of the earlier study whose split it is; None for a draw of the study's own.
    """

    split: Split
    inherited_from: str | None = None


def divide_fields(
    config: StudyConfig, fields: Sequence[str], wells: Sequence[str], log: Log
) -> Sides:
    """Divide fields by well; where a study starts warm from another of the same data set that holds
    all of them, as that one did.

    What an earlier study found was learned and chosen on its training and validation fields, so
    none of them may be a test field here.

    Parameters
    ----------
    config : StudyConfig
        The study's.
    fields, wells : sequence of str
        The names of the fields, and the well or scene of each.
    log : callable
        Told of a split that is inherited, and of an earlier study that is not there any more.

    Raises
    ------
    StudyError
        If an earlier study saw fields that would be tested on, or its split leaves a side empty.
    """
    own = split_by_well(
        wells,
        test=config.dataset.test,
        validation=config.dataset.validation,
        seed=derive_seed(config.seed, "split"),
    )
    if config.search.warm_start is None:
        return Sides(own)
    earlier = [
        one for one in _earlier_studies(config, log) if one.store.kind == config.dataset.kind
    ]
    split, inherited = own, None
    nearest = earlier[0].split if earlier else {}
    if earlier and set(fields) <= {name for side in nearest.values() for name in side}:
        split = split_by_name(nearest, fields)
        inherited = config.search.warm_start if split != own else None
        _check_inherited(split, config)
    _check_unseen([fields[index] for index in split.test], earlier, config)
    if inherited is not None:
        sides = ", ".join(f"{len(held)} {side}" for side, held in split.to_dict().items())
        log(f"split inherited from {inherited}: {sides} fields")
    return Sides(split, inherited)


def split_by_name(sides: dict[str, list[str]], fields: Sequence[str]) -> Split:
    """Return the split that a ledger holds by name, as indices of `fields`; of the fields that are
    among them.
    """
    of_name = {name: side for side, names in sides.items() for name in names}
    held: dict[str, list[int]] = {"train": [], "validation": [], "test": []}
    for index, name in enumerate(fields):
        if name in of_name:
            held[of_name[name]].append(index)
    return Split(**held)


def _earlier_studies(config: StudyConfig, log: Log) -> Iterator[StudyBegun]:
    """Return the first events of the study that a configuration starts warm from, of the one that
    this started from, and so on.
    """
    folder, known = config.search.warm_start, set()
    while folder is not None and folder not in known:
        known.add(folder)
        if not (Path(folder) / FILE_NAME).is_file():
            log(f"{folder} is not there any more: which fields it saw cannot be checked")
            return
        begun = read_history(Path(folder)).study
        yield begun
        folder = begun.config.search.warm_start


def _check_inherited(split: Split, config: StudyConfig) -> None:
    """Raise a `StudyError` if a side is empty in a split that was made for more fields."""
    wanted = ["train", "test", *(["validation"] if config.dataset.validation else [])]
    empty = [side for side in wanted if not split.to_dict()[side]]
    if empty:
        raise StudyError(
            f"search.warm_start: in the split of {config.search.warm_start}, which holds here too,"
            f" none of this study's fields is on the side {' or '.join(empty)}. Use the same fields"
            " as that study (dataset.max_fields), or no search.warm_start"
        )


def _check_unseen(test: Sequence[str], earlier: Sequence[StudyBegun], config: StudyConfig) -> None:
    """Raise a `StudyError` if an earlier study trained or chose on fields to test on."""
    seen = {name for one in earlier for side in ("train", "validation") for name in one.split[side]}
    met = [name for name in test if name in seen]
    if met:
        more = f" and {len(met) - NAMED} more" if len(met) > NAMED else ""
        raise StudyError(
            f"search.warm_start: {config.search.warm_start}, or a study that it started from,"
            f" trained or chose on {len(met)} of the {len(test)} test fields of this study"
            f" ({', '.join(met[:NAMED])}{more}): what it found would be tested on what it was found"
            " with. Use the same fields as that study (dataset.root, dataset.levels,"
            " dataset.max_fields), so that its split holds here too, or no search.warm_start"
        )
