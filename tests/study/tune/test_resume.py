"""What an earlier study gives a new search."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from search_spaces.baselines import baselines
from search_spaces.comparators import initial_configurations
from search_spaces.sizes import Sizes
from study.config import SearchConfig, StudyConfig
from study.data.splits import Split
from study.data.store import Store
from study.errors import StudyError
from study.record.history import History
from study.record.identities import Role, TrialStatus
from study.tune.proposals import make_searcher
from study.tune.resume import earlier_winner, warm_trials
from tests.contracts.test_searchers import SIZES, ask
from tests.study.record.made_up_events import (
    begun,
    confirm,
    ended,
    epoch,
    finished,
    search,
    study,
    write_events,
)


def test_the_winner_of_the_earlier_study_is_who_was_best_on_validation(tmp_path: Path) -> None:
    events = [study("earlier")]
    for number, score in enumerate((0.7, 0.9, 0.8)):
        role = Role.BASELINE if number == 1 else Role.SEARCHED
        run = search(number)
        events += [begun(run, role, hyperparameters={"depth": number}), *finished(run, score)]
    best_on_test = confirm(0)  # the test set has no say
    events += [
        begun(best_on_test, Role.SEARCHED, hyperparameters={"depth": 0}),
        *finished(best_on_test, 0.99),
    ]
    write_events(tmp_path / "earlier", events)
    config = StudyConfig(search=SearchConfig(warm_start=str(tmp_path / "earlier")))
    assert earlier_winner(config) == ("winner of earlier", {"depth": 2})


@pytest.mark.parametrize(("same", "told", "proposed"), [(True, [2, 3], 0), (False, [], 1)])
def test_what_an_earlier_study_gives(
    same: bool, told: list[int], proposed: int, tmp_path: Path
) -> None:
    search_config = SearchConfig(warm_start=str(tmp_path / "x"), level_weights={23: 2.0})
    events = [study("x", search=search_config)]  # whose keys JSON makes texts
    ends = ["finished", "finished", "finished", "stopped", "failed"]
    for number, status in enumerate(ends):
        run, role = search(number), Role.BASELINE if number < 2 else Role.SEARCHED
        events += [
            begun(run, role, hyperparameters={"depth": number}),
            epoch(run, 1, 0.1 * number),
            ended(run, TrialStatus(status)),
        ]
    write_events(tmp_path / "x", events)
    here = events[0]
    fingerprint = here.store.fingerprint if same else "of other images"
    store: Any = SimpleNamespace(fingerprint=fingerprint)
    given = warm_trials(here.config, store)
    assert [run.trial.number for run in given.told] == told
    assert given.proposed == [{"depth": 2}] * proposed
    other = StudyConfig(
        name="x", search=SearchConfig(space="beyond", warm_start=str(tmp_path / "x"))
    )
    with pytest.raises(StudyError, match="searched the space paper, not beyond"):
        warm_trials(other, store)


@pytest.mark.filterwarnings("ignore::sqlalchemy.exc.SAWarning")
def test_trials_of_a_space_without_todays_switches_are_resumed_and_started_from(
    store: Store, tmp_path: Path
) -> None:
    robust = initial_configurations(Sizes([128], 768, [128]))["robust"]
    off = {
        "relative_loss": False,
        "augment_light": False,
        "global_context": False,
        "weigh_near_focus": False,
    }
    older = {name: value for name, value in robust.items() if name not in off}
    strange = {name: value for name, value in robust.items() if name != "unet_filters"}
    events = [study("earlier", search=SearchConfig(space="beyond"))]
    for number, hyperparameters in enumerate((older, strange)):
        run = search(number)
        events += [
            begun(run, Role.SEARCHED, hyperparameters=hyperparameters),
            epoch(run, 1, 0.5),
            ended(run, TrialStatus.FINISHED),
        ]
    folder = write_events(tmp_path / "earlier", events)
    config = StudyConfig(name="later", search=SearchConfig(space="beyond", warm_start=str(folder)))
    history = History([study("later")])
    for number, hyperparameters in enumerate(
        [*baselines(SIZES).values(), older | {"learning_rate": 1e-3}]
    ):
        run, role = search(number), Role.BASELINE if number < 2 else Role.SEARCHED
        history.add(begun(run, role, hyperparameters=hyperparameters))
        history.add(epoch(run, 1, 0.5))
        history.add(ended(run, TrialStatus.STOPPED if number == 2 else TrialStatus.FINISHED))
    (tmp_path / "later").mkdir()
    searcher = make_searcher(
        config, store, Split([0], [1], [2]), folder=tmp_path / "later", history=history
    )
    told = searcher.study.trials[2].params
    assert {name: told[name] for name in off} == off
    assert ask(searcher, "a").task.hyperparameters == older | off
    assert ask(searcher, "b").task.hyperparameters != strange
