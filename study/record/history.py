"""What a ledger says, indexed: the one place where a study's winner, front, unfinished runs and
problems are derived.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal

from study.config import StudyConfig
from study.errors import StudyError
from study.record.events import (
    EpochEnded,
    Event,
    Hyperparameters,
    Metrics,
    NumbersDiffered,
    ReferenceScored,
    RunEvent,
    StepTimed,
    StitchingMeasured,
    StudyBegun,
    StudyEnded,
    StudyResumed,
    TestOpened,
    TransferReferenceScored,
    TransferScored,
    TransferSet,
    TrialBegun,
    TrialEnded,
    TrialPlaced,
    TrialScored,
)
from study.record.identities import Phase, Reference, Role, RunId, TrialId, TrialStatus


@dataclass
class Run:
    """One training of a configuration, as far as it came."""

    begun: TrialBegun
    placed: list[TrialPlaced] = field(default_factory=list)
    epochs: dict[int, EpochEnded] = field(default_factory=dict)
    score: TrialScored | None = None
    end: TrialEnded | None = None

    @property
    def id(self) -> RunId:
        """What tells it from others."""
        return self.begun.run

    @property
    def trial(self) -> TrialId:
        """Its configuration."""
        return self.begun.trial

    @property
    def label(self) -> str:
        """The name that people read."""
        return self.begun.label

    @property
    def role(self) -> Role:
        """Where its configuration comes from."""
        return self.begun.role

    @property
    def hyperparameters(self) -> Hyperparameters:
        """Its configuration."""
        return self.begun.hyperparameters

    @property
    def status(self) -> TrialStatus | None:
        """How it ended; None if it has not."""
        return self.end.status if self.end else None

    @property
    def finished(self) -> bool:
        """Whether it ran to its end."""
        return self.status == TrialStatus.FINISHED

    @property
    def curve(self) -> dict[int, float]:
        """Epoch (the first is 1) -> objective after it, ascending."""
        return {epoch: self.epochs[epoch].objective for epoch in sorted(self.epochs)}

    @property
    def cost(self) -> Metrics:
        """What it has cost, as of its score or its last epoch."""
        if self.score is not None:
            return self.score.cost
        return self.epochs[max(self.epochs)].cost if self.epochs else {}

    @property
    def objective(self) -> float:
        """The objective of its score.

        Raises
        ------
        LookupError
            If it has none.
        """
        if self.score is None:
            raise LookupError(f"{self.id} has no score")
        return self.score.summary["objective"]


class History:
    """An index of a study's events, in their order.

    Parameters
    ----------
    events : iterable of Event
        A ledger's; more can be added.

    Attributes
    ----------
    runs : dict
        `RunId` -> `Run`, in the order in which they began.
    references, transfer_references : dict
        `Reference` -> its score.
    transfer_set : TransferSet, optional
        The other data set.
    transfers, stitchings : dict
        `RunId` -> what the run was asked after its training.
    timings : dict
        `TrialId` -> what a training step takes.
    openings, resumptions, ends, repeats : list
        The events of these kinds.
    """

    def __init__(self, events: Iterable[Event] = ()) -> None:
        self._events: dict[tuple[Hashable, ...], Event] = {}
        self.runs: dict[RunId, Run] = {}
        self.references: dict[Reference, ReferenceScored] = {}
        self.transfer_references: dict[Reference, ReferenceScored] = {}
        self.transfer_set: TransferSet | None = None
        self.transfers: dict[RunId, TransferScored] = {}
        self.stitchings: dict[RunId, StitchingMeasured] = {}
        self.timings: dict[TrialId, StepTimed] = {}
        self.openings: list[TestOpened] = []
        self.resumptions: list[StudyResumed] = []
        self.ends: list[StudyEnded] = []
        self.repeats: list[NumbersDiffered] = []
        for event in events:
            self.add(event)

    def add(self, event: Event) -> None:
        """Enter an event, unless one with its key is there: the first stands.

        Raises
        ------
        StudyError
            If it is of a run that has not begun.
        """
        run = self.run_of(event)
        if self._events.setdefault(event.key, event) is not event:
            return
        if isinstance(event, TrialBegun):
            self.runs[event.run] = Run(event)
        elif run is not None:
            self._add_to_run(event, run)
        else:
            self._add_of_study(event)

    def run_of(self, event: Event) -> Run | None:
        """Return the run that an event is of; None if it is of none, or begins one.

        Raises
        ------
        StudyError
            If that run has not begun.
        """
        if not isinstance(event, RunEvent) or isinstance(event, TrialBegun):
            return None
        run = self.runs.get(event.run)
        if run is None:
            raise StudyError(
                f"the event {event.kind!r} in line {event.row} is of the run {event.run}, of which"
                " no line before it says that it began. Restore the ledger from a copy"
            )
        return run

    def _add_to_run(self, event: Event, run: Run) -> None:
        match event:
            case TrialPlaced():
                run.placed.append(event)
            case EpochEnded():
                run.epochs[event.epoch] = event
            case TrialScored():
                run.score = event
            case TrialEnded():
                run.end = event
            case TransferScored():
                self.transfers[run.id] = event
            case StitchingMeasured():
                self.stitchings[run.id] = event
            case NumbersDiffered():
                self.repeats.append(event)

    def _add_of_study(self, event: Event) -> None:
        match event:
            case TransferReferenceScored():  # before the kind that it is derived from
                self.transfer_references[event.reference] = event
            case ReferenceScored():
                self.references[event.reference] = event
            case TransferSet():
                self.transfer_set = event
            case StepTimed():
                self.timings[event.trial] = event
            case TestOpened():
                self.openings.append(event)
            case StudyResumed():
                self.resumptions.append(event)
            case StudyEnded():
                self.ends.append(event)

    @property
    def events(self) -> list[Event]:
        """All of them, in their order."""
        return list(self._events.values())

    def known(self, event: Event) -> Event | None:
        """Return the event with another's key; None if there is none."""
        return self._events.get(event.key)

    @property
    def study(self) -> StudyBegun:
        """The first event.

        Raises
        ------
        StudyError
            If there is none.
        """
        begun = self._events.get((StudyBegun.kind,))
        if not isinstance(begun, StudyBegun):
            raise StudyError("the ledger holds no study: its first event is missing")
        return begun

    @property
    def has_begun(self) -> bool:
        """Whether the first event is there."""
        return (StudyBegun.kind,) in self._events

    @property
    def config(self) -> StudyConfig:
        """The configuration, with what the study was extended by."""
        return self.resumptions[-1].config if self.resumptions else self.study.config

    @property
    def ended(self) -> bool:
        """Whether the study has come to its end since it was last resumed."""
        begun = self.resumptions[-1].run if self.resumptions else 0
        return bool(self.ends) and self.ends[-1].run >= begun

    @property
    def final_phase(self) -> Phase:
        """The phase that the outcome rests on: confirm, or search if nothing was confirmed."""
        return Phase.CONFIRM if any(self.finished(Phase.CONFIRM)) else Phase.SEARCH

    def of_phase(self, phase: Phase) -> list[Run]:
        """Return a phase's runs, in the order in which they began."""
        return [run for run in self.runs.values() if run.id.phase == phase]

    def finished(self, phase: Phase) -> list[Run]:
        """Return a phase's runs that ran to their end."""
        return [run for run in self.of_phase(phase) if run.finished]

    def ended_runs(self, phase: Phase) -> set[RunId]:
        """Return a phase's runs that have ended, however they did."""
        return {run.id for run in self.of_phase(phase) if run.end is not None}

    def unfinished(self, phase: Phase) -> list[Run]:
        """Return a phase's runs that have begun and not ended."""
        return [run for run in self.of_phase(phase) if run.end is None]

    def searched(self) -> list[Run]:
        """Return the searched trials that ran to their end, best on validation first."""
        done = [run for run in self.finished(Phase.SEARCH) if run.role == Role.SEARCHED]
        return sorted(
            (run for run in done if run.score), key=lambda run: (-run.objective, run.trial)
        )

    def winner(self) -> Run | None:
        """Return the searched trial that was best on validation; None if there is none."""
        return next(iter(self.searched()), None)

    def front(self, costs: Sequence[str], *, searched_only: bool = False) -> list[Run]:
        """Return the finished trials of the search on the Pareto front of objective and costs: no
        other is as good and as cheap in everything, and better or cheaper in something.

        Parameters
        ----------
        costs : sequence of str
            Names of costs, which are to be small.
        searched_only : bool
            Among the searched trials, without the baselines.
        """
        runs = self.searched()
        if not searched_only:
            runs = [run for run in self.finished(Phase.SEARCH) if run.score is not None]
        goals = [(run.objective, *(-run.cost[name] for name in costs)) for run in runs]
        return [
            run
            for run, goal in zip(runs, goals, strict=True)
            if not any(_beats(other, goal) for other in goals)
        ]

    def candidates(
        self, *, best: int | Literal["front"], costs: Sequence[str] = ()
    ) -> list[TrialBegun]:
        """Return the configurations to confirm: every baseline, and the searched trials with the
        best objective on validation.

        Parameters
        ----------
        best : int or "front"
            How many searched trials; all of the Pareto front.
        costs : sequence of str
            What was searched for besides: then only trials of the Pareto front are confirmed.
        """
        searched = self.searched()
        if costs:
            front = {run.id for run in self.front(costs, searched_only=True)}
            searched = [run for run in searched if run.id in front]
        chosen = searched if best == "front" else searched[:best]
        of_search = self.of_phase(Phase.SEARCH)
        baselines = [run for run in of_search if run.role == Role.BASELINE]
        return [run.begun for run in (*baselines, *chosen)]

    def problems(self) -> list[str]:
        """Return why the study is not complete: a baseline that did not run to its end, or nothing
        else that did.
        """
        ended = [run for run in self.runs.values() if run.end is not None]
        problems = [
            f"{run.label} did not run to its end ({run.id.phase}, seed {run.id.replicate}):"
            f" {run.end.reason}"
            for run in ended
            if run.end is not None
            and not run.finished
            and (run.role == Role.BASELINE or run.id.phase == Phase.CONFIRM)
        ]
        if self.of_phase(Phase.SEARCH):
            searched = [run for run in self.finished(Phase.SEARCH) if run.role == Role.SEARCHED]
            problems += [] if searched else ["no searched trial ran to its end"]
        return problems or ([] if ended else ["no trial ran"])

    def runs_of(self, trial: TrialId) -> Iterator[Run]:
        """Yield a configuration's runs, in the order in which they began."""
        return (run for run in self.runs.values() if run.trial == trial)


def _beats(one: Sequence[float], other: Sequence[float]) -> bool:
    return one != other and all(a >= b for a, b in zip(one, other, strict=True))
