"""Every kind of event that a study records, as a type. `to_values` and `from_values` are the only
places that know how one is written.

An event has a key that tells it from others of its kind; the first with a key stands.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Hashable
from dataclasses import dataclass, field
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BeforeValidator, PlainSerializer, TypeAdapter, ValidationError
from pydantic_core import ErrorDetails

from study.config import StudyConfig
from study.errors import StudyError
from study.record.facts import Environment, ImageFacts, StoreFacts
from study.record.identities import Phase, Reference, Role, RunId, TrialId, TrialStatus
from study.record.older import FORMAT
from study.score import Score

Id = Annotated[
    TrialId,
    BeforeValidator(TrialId.parse),
    PlainSerializer(lambda trial: trial.value),
]
Hyperparameters = dict[str, bool | int | float | str]
Metrics = dict[str, float]
ByMode = dict[str, list[float]]  # stitched and whole -> values


@dataclass(frozen=True, kw_only=True)
class Event:
    """What every event has.

    Parameters
    ----------
    time : float
        Seconds since 1970, set when it is written.
    row : int
        Its line in the ledger, from 1, set when it is written or read; not part of what is written.
    """

    kind: ClassVar[str]
    keyed_by: ClassVar[tuple[str, ...]] = ()
    time: float = 0.0
    row: int = field(default=0, compare=False)

    @property
    def key(self) -> tuple[Hashable, ...]:
        """The kind, and what tells it from others of its kind: its attributes `keyed_by`."""
        return self.kind, *(getattr(self, name) for name in self.keyed_by)


@dataclass(frozen=True, kw_only=True)
class StudyBegun(Event):
    """The first event: all that a reader or a later run needs to know.

    Parameters
    ----------
    uid : str
        Of this study alone.
    name : str
        The study's.
    config : StudyConfig
        As it was resolved.
    store, images : StoreFacts, ImageFacts
        The images.
    split : dict
        Side -> names of its fields.
    environment : Environment
        What the program ran on.
    split_inherited_from : str, optional
        The folder of the earlier study whose split it is; None for a draw of its own.
    format : int
        Of the ledger, until a resumption says another.
    """

    kind: ClassVar[str] = "study"
    uid: str
    name: str
    config: StudyConfig
    store: StoreFacts
    images: ImageFacts
    split: dict[str, list[str]]
    environment: Environment
    split_inherited_from: str | None = None
    format: int = FORMAT


@dataclass(frozen=True, kw_only=True)
class StudyResumed(Event):
    """A study was resumed or extended: the configuration and the ledger's format from here on."""

    kind: ClassVar[str] = "resumed"
    keyed_by: ClassVar[tuple[str, ...]] = ("run",)
    run: int
    config: StudyConfig
    environment: Environment
    format: int = FORMAT


@dataclass(frozen=True, kw_only=True)
class StudyEnded(Event):
    """A study, or its run number `run`, came to its end; `problems` say why it is not complete."""

    kind: ClassVar[str] = "study_end"
    keyed_by: ClassVar[tuple[str, ...]] = ("run",)
    run: int = 0
    status: Literal["finished", "failed"]
    problems: list[str] = field(default_factory=list)
    record_seconds: float = 0.0


@dataclass(frozen=True, kw_only=True)
class RunEvent(Event):
    """An event of one run of a configuration."""

    keyed_by: ClassVar[tuple[str, ...]] = ("run",)
    phase: Phase
    trial: Id
    replicate: int

    @property
    def run(self) -> RunId:
        """The run."""
        return RunId(self.phase, self.trial, self.replicate)


@dataclass(frozen=True, kw_only=True)
class TrialBegun(RunEvent):
    """What is trained.

    Parameters
    ----------
    label : str
        The name that people read.
    role : Role
        Where the configuration comes from.
    hyperparameters : dict
        The configuration.
    seed, threads, epochs : int
        Of this run.
    eval_split : str
        What it is scored on.
    folder : str
        Where it leaves its weights.
    steps : int, optional
        The budget in steps, which its epochs share; all of all epochs if not given.
    """

    kind: ClassVar[str] = "trial"
    label: str
    role: Role
    hyperparameters: Hyperparameters
    seed: int
    threads: int
    eval_split: str
    epochs: int
    folder: str
    steps: int | None = None


@dataclass(frozen=True, kw_only=True)
class TrialPlaced(RunEvent):
    """Where a run is: node, process, device, GPUs and its share of their memory."""

    kind: ClassVar[str] = "placed"
    keyed_by: ClassVar[tuple[str, ...]] = ("run", "node", "pid")
    node: str
    pid: int
    gpus: list[int | str] = field(default_factory=list)
    gpu_share: float | None = None
    gpu_limit_mib: int | None = None
    processor: str = ""
    gpu: str = ""
    backend: str = ""


@dataclass(frozen=True, kw_only=True)
class EpochEnded(RunEvent):
    """An epoch's metrics, what the run has cost so far, and its objective (the rung score)."""

    kind: ClassVar[str] = "epoch"
    keyed_by: ClassVar[tuple[str, ...]] = ("run", "epoch")
    epoch: int
    metrics: Metrics
    cost: Metrics
    objective: float


@dataclass(frozen=True, kw_only=True)
class TrialScored(Score, RunEvent):
    """A run's score, and what it cost."""

    kind: ClassVar[str] = "score"
    cost: Metrics


@dataclass(frozen=True, kw_only=True)
class TrialEnded(RunEvent):
    """How a run ended, after which epoch, and why."""

    kind: ClassVar[str] = "trial_end"
    status: TrialStatus
    reason: str
    epoch: int


@dataclass(frozen=True, kw_only=True)
class NumbersDiffered(RunEvent):
    """An epoch or a score came out with other numbers when a run was resumed; the first stand.

    Parameters
    ----------
    of : str
        The kind of the event: epoch or score.
    epoch : int, optional
        The epoch.
    attempt : int
        From 0.
    instead : dict
        What came out: metrics of the epoch, or the score's summary.
    """

    kind: ClassVar[str] = "repeat"
    keyed_by: ClassVar[tuple[str, ...]] = ("run", "of", "epoch", "attempt")
    of: str
    epoch: int | None
    attempt: int
    instead: Metrics


@dataclass(frozen=True, kw_only=True)
class ReferenceScored(Score, Event):
    """A score of what stands beside the networks; of a deconvolution with level -> the parameter
    that was chosen there.
    """

    kind: ClassVar[str] = "reference"
    keyed_by: ClassVar[tuple[str, ...]] = ("reference",)
    reference: Reference
    parameters: dict[int, float] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class TransferReferenceScored(ReferenceScored):
    """The same on the other data set."""

    kind: ClassVar[str] = "transfer_reference"


@dataclass(frozen=True, kw_only=True)
class TransferSet(Event):
    """The other data set, on which confirmed networks are scored: its store and its images."""

    kind: ClassVar[str] = "transfer_set"
    store: StoreFacts
    images: ImageFacts


@dataclass(frozen=True, kw_only=True)
class PostHocEvent(RunEvent):
    """What a confirmed network was asked after its training."""

    phase: Phase = Phase.CONFIRM


@dataclass(frozen=True, kw_only=True)
class TransferScored(Score, PostHocEvent):
    """A confirmed network's score on the other data set."""

    kind: ClassVar[str] = "transfer"


@dataclass(frozen=True, kw_only=True)
class StitchingMeasured(PostHocEvent):
    """The same weights, patch by patch and on the whole image: errors at the seams and elsewhere.

    Parameters
    ----------
    levels, fields, wells : list
        The images.
    patch_size, border_px : int
        Of the patches, and how near to a seam a pixel counts as its border.
    profile : dict
        Mode -> mean absolute error by distance to the nearest seam in pixels.
    border, inside, ssim, psnr : dict
        Mode -> value of each field.
    """

    kind: ClassVar[str] = "stitching"
    levels: list[int]
    fields: list[str]
    wells: list[str]
    patch_size: int
    border_px: int
    profile: ByMode
    border: ByMode
    inside: ByMode
    ssim: ByMode
    psnr: ByMode


@dataclass(frozen=True, kw_only=True)
class StepTimed(Event):
    """What a training step of a configuration takes, and how many an epoch has."""

    kind: ClassVar[str] = "timing"
    keyed_by: ClassVar[tuple[str, ...]] = ("trial",)
    trial: Id
    seconds_per_step: float
    steps_per_epoch: int


@dataclass(frozen=True, kw_only=True)
class TestOpened(Event):
    """The test set was opened, for these candidates."""

    __test__: ClassVar[bool] = False  # pytest: no test
    kind: ClassVar[str] = "test_opened"
    keyed_by: ClassVar[tuple[str, ...]] = ("opening",)
    opening: int
    phase: Phase
    candidates: list[Id]


KINDS: dict[str, type[Event]] = {
    event.kind: event
    for event in (
        StudyBegun,
        StudyResumed,
        StudyEnded,
        TrialBegun,
        TrialPlaced,
        EpochEnded,
        TrialScored,
        TrialEnded,
        NumbersDiffered,
        ReferenceScored,
        TransferReferenceScored,
        TransferSet,
        TransferScored,
        StitchingMeasured,
        StepTimed,
        TestOpened,
    )
}


def to_values(event: Event) -> dict[str, Any]:
    """Return an event as plain values for JSON; numbers that JSON cannot write are strings."""
    values = _adapter(event.kind).dump_python(event, warnings=False)  # `from_values` checks types
    del values["row"]
    return {"event": event.kind, **_writable(values)}


def from_values(values: dict[str, Any], *, row: int = 0) -> Event:
    """Return the event that plain values stand for.

    Raises
    ------
    StudyError
        If the kind is unknown, or a value is missing or of another type; every one is named.
    """
    kind = values.get("event")
    if kind not in KINDS:
        raise StudyError(f"unknown event {kind!r}; known are {', '.join(KINDS)}")
    try:
        event: Event = _adapter(kind).validate_python({**values, "row": row})
    except ValidationError as error:
        wrong = "; ".join(map(_say, error.errors(include_url=False)))
        raise StudyError(f"the event {kind!r} does not hold what it should: {wrong}") from None
    return event


@functools.cache
def _adapter(kind: str) -> TypeAdapter[Any]:
    return TypeAdapter(KINDS[kind])


def _say(error: ErrorDetails) -> str:
    where = ".".join(map(str, error["loc"]))
    given = "" if error["type"] == "missing" else f", got {error['input']!r:.60}"
    return f"{where}: {error['msg']}{given}"


def _writable(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _writable(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_writable(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value
