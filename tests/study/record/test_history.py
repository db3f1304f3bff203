from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from study.errors import StudyError
from study.record.events import Event, StudyEnded, TestOpened, TrialPlaced
from study.record.history import History, Run
from study.record.identities import Phase, Role, TrialId, TrialStatus
from study.record.ledger import Ledger, read_history
from tests.study.record.made_up_events import (
    UNRESTORED,
    begun,
    confirm,
    ended,
    epoch,
    finished,
    key,
    one_of_each_kind,
    reference,
    resumed,
    scored,
    search,
    study,
)


def small_study() -> list[Event]:
    """A study by hand.

    Its search: two baselines (0, 1), trials that finished at .6 (2), .8 (3) and .8 (5), one stopped
    at .9 (4), one failed (6), one under way (7). Its confirmation: both baselines, trial 3 and a
    comparator, of which one seed of trial 3 failed and the comparator is under way.
    """
    return [
        study(),
        reference(),
        *finished(search(0), 0.7, cost={"gflop": 4.0, "parameters": 10.0}),
        *finished(search(1), 0.5, role=Role.BASELINE, cost={"gflop": 9.0, "parameters": 9.0}),
        *finished(search(2), 0.6, cost={"gflop": 1.0, "parameters": 20.0}),
        *(begun(search(4)), epoch(search(4), 1, 0.9), ended(search(4), TrialStatus.STOPPED)),
        *finished(search(5), 0.8, cost={"gflop": 5.0, "parameters": 30.0}),
        *finished(search(3), 0.8, cost={"gflop": 5.0, "parameters": 40.0}),
        *(begun(search(6)), ended(search(6), TrialStatus.FAILED, "diverged")),
        *(begun(search(7)), epoch(search(7), 1, 0.95)),
        TestOpened(opening=0, phase=Phase.CONFIRM, candidates=[TrialId(0), TrialId(3)]),
        *finished(confirm(0), 0.71),
        *finished(confirm(1), 0.51, role=Role.BASELINE),
        *finished(confirm(3), 0.79),
        *(begun(confirm(3, 1)), ended(confirm(3, 1), TrialStatus.FAILED, "its worker was lost")),
        begun(confirm("residual_unet")),
    ]


def trials(runs: Sequence[Any]) -> list[str]:
    """Names of the configurations of runs or of their beginnings."""
    return [str(run.trial) for run in runs]


def test_the_winner_is_the_searched_trial_that_finished_best_and_came_first() -> None:
    history = History(small_study())
    winner = history.winner()
    assert winner is not None
    assert (str(winner.trial), winner.objective, winner.cost["parameters"]) == ("3", 0.8, 40.0)
    assert trials(history.searched()) == ["3", "5", "2"]
    assert History([study(), *finished(search(0), 0.7)]).winner() is None  # a baseline wins nothing


def test_the_front_holds_what_nothing_else_beats() -> None:
    history = History(small_study())
    assert trials(history.front(["gflop", "parameters"])) == ["0", "1", "2", "5"]
    assert trials(history.front(["gflop"])) == ["0", "2", "5", "3"]  # 5 and 3 are alike
    assert trials(history.front(["gflop"], searched_only=True)) == ["3", "5", "2"]
    assert trials(history.front([])) == ["5", "3"]


@settings(max_examples=150, deadline=None, derandomize=True)
@given(
    st.lists(
        st.tuples(*[st.integers(0, 3).map(float)] * 3, st.sampled_from(TrialStatus)), max_size=9
    ),
    st.booleans(),
)
def test_the_front_is_that_of_a_comparison_of_every_pair(
    drawn: list[tuple[float, float, float, TrialStatus]], searched_only: bool
) -> None:
    events: list[Event] = [study()]
    for number, (objective, gflop, parameters, status) in enumerate(drawn):
        run, cost = search(number), {"gflop": gflop, "parameters": parameters}
        events.append(begun(run))
        if status == TrialStatus.FINISHED:
            events.append(scored(run, objective, cost=cost))
        events.append(ended(run, status))
    front = History(events).front(["gflop", "parameters"], searched_only=searched_only)
    usable = [
        (number, *goals)
        for number, (*goals, status) in enumerate(drawn)
        if status == TrialStatus.FINISHED and not (searched_only and number == 0)
    ]
    expected = set()
    for number, quality, *costs in usable:
        beaten = False
        for _, other, *cheaper in usable:
            as_good = other >= quality and cheaper[0] <= costs[0] and cheaper[1] <= costs[1]
            better = other > quality or cheaper[0] < costs[0] or cheaper[1] < costs[1]
            beaten = beaten or (as_good and better)
        if not beaten:
            expected.add(str(number))
    assert set(trials(front)) == expected


def test_baselines_and_the_best_are_confirmed() -> None:
    history = History(small_study())
    assert trials(history.candidates(best=2)) == ["0", "1", "3", "5"]
    assert trials(history.candidates(best=0)) == ["0", "1"]
    # of the searched trials 3 costs more than 5 and is no better; 2 is the cheapest
    costs = ["gflop", "parameters"]
    assert trials(history.candidates(best="front", costs=costs)) == ["0", "1", "5", "2"]
    assert trials(history.candidates(best=1, costs=costs)) == ["0", "1", "5"]


def test_what_is_unfinished_has_begun_and_not_ended() -> None:
    history = History(small_study())
    assert trials(history.unfinished(Phase.SEARCH)) == ["7"]
    assert trials(history.unfinished(Phase.CONFIRM)) == ["residual_unet"]
    assert history.ended_runs(Phase.CONFIRM) == {
        *(confirm(0), confirm(1), confirm(3), confirm(3, 1))
    }
    assert trials(history.finished(Phase.SEARCH)) == ["0", "1", "2", "5", "3"]
    assert trials(history.of_phase(Phase.LEAK)) == []
    assert [run.id for run in history.runs_of(TrialId(3))] == [
        *(search(3), confirm(3), confirm(3, 1))
    ]


def test_the_final_phase_is_the_confirmation_once_one_run_of_it_has_finished() -> None:
    events = small_study()
    opened = [event.kind for event in events].index("test_opened")
    assert History(events).final_phase == Phase.CONFIRM
    assert History(events[: opened + 2]).final_phase == Phase.SEARCH  # one has begun


def test_problems_name_what_did_not_run_to_its_end() -> None:
    assert History(small_study()).problems() == [
        "trial 3 did not run to its end (confirm, seed 1): its worker was lost"
    ]
    fine = [study(), *finished(search(0), 0.7), *finished(search(1), 0.7)]
    assert History(fine).problems() == []
    failed = [*fine, begun(confirm(0)), ended(confirm(0), TrialStatus.STOPPED, "why not")]
    assert History(failed).problems() == [
        "trial 0 did not run to its end (confirm, seed 0): why not"
    ]
    lost = ended(search(0), TrialStatus.FAILED, "out of memory")
    assert History([study(), begun(search(0)), lost]).problems() == [
        "trial 0 did not run to its end (search, seed 0): out of memory",
        "no searched trial ran to its end",
    ]
    alone = [study(), *finished(search(0), 0.7)]
    assert History(alone).problems() == ["no searched trial ran to its end"]
    assert History([study(), *finished(confirm(0), 0.7)]).problems() == []  # nothing was searched
    assert History([study()]).problems() == ["no trial ran"]


def test_a_study_has_ended_until_it_is_resumed_and_ends_again() -> None:
    history = History([study(seed=1)])
    told = [(history.ended, history.config.seed)]
    for event in (
        StudyEnded(run=0, status="finished"),
        resumed(1, seed=2),
        resumed(2, seed=3),  # the run before was killed
        StudyEnded(run=2, status="failed", problems=["x"]),
    ):
        history.add(event)
        told.append((history.ended, history.config.seed))
    assert told == [(False, 1), (True, 1), (False, 2), (False, 3), (True, 3)]
    assert [event.run for event in history.ends] == [0, 2]
    assert history.study.config.seed == 1


def test_a_run_is_described_by_its_own_events() -> None:
    run = search(2)
    events: list[Event] = [begun(run), epoch(run, 2, 0.4), epoch(run, 1, 0.2)]
    history = History([study(), *events])
    held = history.runs[run]
    assert held.curve == {1: 0.2, 2: 0.4}
    assert list(held.curve) == [1, 2]
    assert (held.status, held.finished, held.cost) == (None, False, {"parameters": 7.0})
    with pytest.raises(LookupError, match="search 2 0 has no score"):
        print(held.objective)
    for place in (TrialPlaced(**key(run), node=name, pid=1) for name in "ab"):
        history.add(place)
    history.add(scored(run, 0.6, cost={"parameters": 8.0}))
    history.add(ended(run))
    assert (held.status, held.finished, held.cost) == ("finished", True, {"parameters": 8.0})
    assert (held.objective, [place.node for place in held.placed]) == (0.6, ["a", "b"])


def test_the_first_event_with_a_key_stands() -> None:
    first = list(one_of_each_kind())
    history = History([*first, *one_of_each_kind(), epoch(search(0), 1, 0.9), reference(own={})])
    assert history.events == History(first).events == first
    assert history.runs[search(0)].curve == {1: 0.5}
    assert history.references[UNRESTORED].own != {}
    lists = (history.openings, history.resumptions, history.ends, history.repeats)
    assert [len(held) for held in lists] == [1, 1, 1, 2]
    assert history.known(epoch(search(0), 1, 0.9)) == epoch(search(0), 1, 0.5)
    assert history.known(epoch(search(0), 2)) is None


def test_an_event_of_a_run_that_has_not_begun_is_named() -> None:
    with pytest.raises(StudyError, match="'epoch' in line 0 is of the run search 1 0, of which"):
        History([study(), begun(search(0)), epoch(search(1), 1)])


def test_a_history_without_a_study_says_so() -> None:
    assert not History().has_begun
    with pytest.raises(StudyError, match="its first event is missing"):
        print(History([reference()]).config)


def described(history: History) -> dict[str, object]:
    """All that a history holds, as text: nan is like nan there."""
    held = {name: repr(value) for name, value in vars(history).items()}
    return held | {"events": repr(history.events), "problems": history.problems()}


def test_what_a_ledger_keeps_in_memory_is_what_its_file_says(tmp_path: Path) -> None:
    with Ledger(tmp_path) as ledger:
        for event in (*one_of_each_kind(), *small_study(), epoch(search(0), 1, 0.123)):
            ledger.append(event)
        kept = described(ledger.history)
        assert kept == described(read_history(tmp_path))
    with Ledger(tmp_path) as ledger:
        assert described(ledger.history) == kept
        runs = ledger.history.runs.values()
        assert {type(run) for run in runs} == {Run}
        assert len(ledger.history.repeats) > 2
