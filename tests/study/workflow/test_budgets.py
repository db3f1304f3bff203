from __future__ import annotations

import pytest

from study.record.events import StepTimed
from study.record.identities import TrialId
from study.workflow.confirmation import epochs_for_seconds


@pytest.mark.parametrize(("seconds", "epochs"), [(1, 1), (7.4, 1), (7.6, 2), (50, 10)])
def test_a_budget_in_seconds_is_the_nearest_number_of_whole_epochs(
    seconds: float, epochs: int
) -> None:
    trial = TrialId(3)
    timed = StepTimed(trial=trial, seconds_per_step=0.5, steps_per_epoch=10)  # 5 s an epoch
    assert epochs_for_seconds(seconds, {trial: timed}) == {trial: epochs}
