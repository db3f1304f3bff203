"""Events of older versions, converted to today's: the one place that knows them."""

from __future__ import annotations

import re
from typing import Any

from study.errors import StudyError
from study.record.identities import ReferenceRole
from study.renamed import current_config, current_hyperparameters

FORMAT = 3
READ_FORMATS = (2, FORMAT)
_COMPARATORS = {9001: "residual_unet", 9002: "earlier"}  # numbers that stood for names
_LEVEL_SYMBOLS = {"bbbc006": "z", "bbbc005": "F"}
_DECONVOLUTION = re.compile(r"(.+), true blur, (\d+) fields")
_AT_SIZE = re.compile(r"(do-nothing|perfect restoration) at (\d+) px")
_SPLIT = re.compile(r"(.+) \((\w+)\)")


def check_format(written: int) -> None:
    """Raise a `StudyError` if a ledger's format is none that this version reads."""
    if written not in READ_FORMATS:
        age = "a newer" if written > FORMAT else "an older"
        raise StudyError(
            f"the ledger has format {written}, written by {age} version of this program; this one"
            f" reads the formats {' and '.join(map(str, READ_FORMATS))}. Use that version for it"
        )


def convert(values: dict[str, Any], *, written: int) -> dict[str, Any]:
    """Return an event's values as today's version writes them.

    Parameters
    ----------
    values : dict
        As they stand in the ledger.
    written : int
        The ledger's format.
    """
    return values if written == FORMAT else _from_format_2(values)


def _from_format_2(values: dict[str, Any]) -> dict[str, Any]:
    kind = values.get("event")
    new = {
        {"judged_on": "eval_split", "common": "evaluation"}.get(k, k): v for k, v in values.items()
    }
    if "trial" in new:
        new["trial"] = _trial(new["trial"])
    if "config" in new:
        new["config"] = current_config(new["config"])
    if kind in ("study", "transfer_set"):
        store = new["store"]
        new["store"] = {**store, "resolutions": store["grids"]}
        symbol = _LEVEL_SYMBOLS[store["kind"]]
        new["images"] = {**new["images"], "level_symbol": symbol}
    if kind == "study":
        new["format"] = FORMAT
    if kind == "trial":
        baseline, number = values["baseline"], values["trial"]
        new["role"] = (
            "baseline" if baseline else "comparator" if number in _COMPARATORS else "searched"
        )
        new["hyperparameters"] = current_hyperparameters(new["hyperparameters"])
    if kind in ("reference", "transfer_reference"):
        new["reference"] = _reference(values["reference"])
        new = {"fields": [], "wells": [], "own": {}, **new}
    if kind == "test_opened":
        new["candidates"] = [_trial(one) for one in new["candidates"]]
    if kind == "repeat":
        new |= _repeat(values)
    return new


def _trial(number: int) -> int | str:
    return _COMPARATORS.get(number, number)


def _reference(label: str) -> dict[str, Any]:
    """Return what a label said of a reference."""
    if label.startswith("paper: "):
        family = label.removeprefix("paper: ").removesuffix(" image")
        return {"role": ReferenceRole.PAPER, "split": "paper", "name": family}
    if (parts := _SPLIT.fullmatch(label)) is None:
        raise StudyError(f"the reference {label!r} is none that an older version wrote")
    title, split = parts[1], parts[2]
    if deconvolution := _DECONVOLUTION.fullmatch(title):
        fields = int(deconvolution[2])
        role = ReferenceRole.DECONVOLUTION
        return {"role": role, "split": split, "name": deconvolution[1], "fields": fields}
    if sized := _AT_SIZE.fullmatch(title):
        bound = sized[1] == "perfect restoration"
        role = ReferenceRole.UPPER_BOUND if bound else ReferenceRole.UNRESTORED_INPUT
        return {"role": role, "split": split, "size": int(sized[2])}
    affine = title.endswith("best affine fit")
    role = ReferenceRole.AFFINE_FIT if affine else ReferenceRole.UNRESTORED_INPUT
    return {"role": role, "split": split}


def _repeat(values: dict[str, Any]) -> dict[str, Any]:
    kind, phase, trial, replicate, *epoch = values["of"]
    instead = values["instead"]
    return {
        "of": kind,
        "phase": phase,
        "trial": _trial(trial),
        "replicate": replicate,
        "epoch": epoch[0] if epoch else None,
        "instead": instead.get("metrics") or instead.get("summary") or {},
    }
