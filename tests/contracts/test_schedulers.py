"""What every scheduler must do: leave the baselines alone, stop the poor, and know the same after a
resume.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, get_args, get_type_hints

import pytest
from ray.tune.schedulers import TrialScheduler

from study.config import SearchConfig, StudyConfig, TrainingConfig
from study.record.history import Run
from study.record.identities import Role, TrialId
from study.tune.scheduler import make_scheduler
from study.tune.tasks import Configuration
from study.tune.trainable import Job
from tests.contracts.test_searchers import make_job, past_run

SCHEDULERS = get_args(get_type_hints(SearchConfig)["scheduler"])
STOPPING = [name for name in SCHEDULERS if name != "none"]
# "after a resume it begins anew": it does not remember, and says so
REMEMBERING = [name for name in STOPPING if name != "median"]
GOOD = (0.8, 0.9, 0.85)


def job(number: int, *, baseline: bool = False) -> Job:
    role = Role.BASELINE if baseline else Role.SEARCHED
    return make_job(Configuration(TrialId(number), f"trial {number}", role, {}))


class TuneTrial:
    """What a scheduler sees of a trial of Tune's."""

    def __init__(self, number: int, *, baseline: bool = False) -> None:
        self.trial_id = f"Tune's {id(self)}"
        self.config = job(number, baseline=baseline).to_config()


class Search:
    """A scheduler, driven as Tune drives one."""

    def __init__(self, name: str, past: Iterable[Run] = ()) -> None:
        config = StudyConfig(
            search=SearchConfig(scheduler=name, grace_epochs=1, reduction_factor=2),
            training=TrainingConfig(epochs=9),
        )
        self.scheduler = make_scheduler(config, past)

    def get_live_trials(self) -> list[Any]:
        """As Tune's controller: who runs; the schedulers need not know."""
        return []

    def course(
        self, number: int, *scores: float, first: int = 1, baseline: bool = False
    ) -> list[str]:
        """Report a trial's scores from an epoch on until it is stopped; return what was decided."""
        trial: Any = TuneTrial(number, baseline=baseline)
        self.scheduler.on_trial_add(self, trial)
        decisions = []
        for epoch, score in enumerate(scores, start=first):
            result = {"epoch": epoch, "objective": score}
            decisions.append(str(self.scheduler.on_trial_result(self, trial, result)))
            if decisions[-1] == TrialScheduler.STOP:
                break
        else:
            self.scheduler.on_trial_complete(self, trial, result)
        return decisions


@pytest.mark.parametrize("name", SCHEDULERS)
def test_good_trials_and_all_baselines_run_to_their_ends(name: str) -> None:
    search = Search(name)
    for number, score in enumerate((0.1, 0.99)):  # however good or poor they are
        decisions = search.course(number, score, score, score, baseline=True)
        assert decisions == [TrialScheduler.CONTINUE] * 3
    for number, score in enumerate((0.7, 0.8, 0.9, 0.95), start=2):
        assert search.course(number, score, score + 0.01) == [TrialScheduler.CONTINUE] * 2
    assert search.course(6, 0.1, 0.1, baseline=True) == [TrialScheduler.CONTINUE] * 2


@pytest.mark.parametrize("name", STOPPING)
def test_a_poor_trial_is_stopped_early(name: str) -> None:
    search = Search(name)
    for number, score in enumerate(GOOD):
        search.course(number, score, score)
    assert search.course(3, 0.1, 0.1, 0.1)[-1] == TrialScheduler.STOP


def test_without_a_scheduler_nobody_is_stopped() -> None:
    search = Search("none")
    for number, score in enumerate((*GOOD, 0.1)):
        assert search.course(number, score, score) == [TrialScheduler.CONTINUE] * 2


@pytest.mark.parametrize("name", STOPPING)
def test_baselines_are_none_of_those_that_trials_are_compared_with(name: str) -> None:
    search = Search(name)
    for number in range(3):
        search.course(number, 0.99, 0.99, baseline=True)
    assert search.course(3, 0.1, 0.1) == [TrialScheduler.CONTINUE] * 2


@pytest.mark.parametrize("name", REMEMBERING)
def test_a_resumed_search_decides_as_one_that_was_not_interrupted(name: str) -> None:
    past = [past_run(job(number), {1: s, 2: s}) for number, s in enumerate(GOOD)]
    past.append(past_run(job(3, baseline=True), {1: 0.99, 2: 0.99}))
    straight, resumed, new = Search(name), Search(name, past), Search(name)
    for number, run in enumerate(past):
        straight.course(number, *run.curve.values(), baseline=run.role == Role.BASELINE)
    for number, score in enumerate((0.1, 0.84, 0.86, 0.2, 0.95, 0.5), start=4):
        scores = [score] * 4
        assert resumed.course(number, *scores) == straight.course(number, *scores)
    assert new.course(4, 0.1) == [TrialScheduler.CONTINUE]  # who knows nothing stops nobody
    assert Search(name, past).course(4, 0.1) == [TrialScheduler.STOP]


def test_a_trial_that_continues_after_a_resume_stands_in_a_rung_once() -> None:
    past = [past_run(job(number), {1: s}) for number, s in enumerate((0.5, 0.6, 0.7))]
    search = Search("asha", past)
    assert search.course(2, 0.75, 0.8, first=2) == [TrialScheduler.CONTINUE] * 2
    # the median of the first rung is 0.6; it would be 0.65 if 0.8 stood there too
    assert search.course(3, 0.62) == [TrialScheduler.CONTINUE]
    assert search.course(4, 0.59) == [TrialScheduler.STOP]
