import keras
import numpy as np
import pytest

from study.models.schedules import PaperSchedule, schedule_of

# worked out by hand: 1e-3 * 0.5 ** halvings / (1 + 1e-3 * iteration); 15 epochs are 19,005
# iterations
BY_HAND = {
    0: 1e-3,
    1: 1e-3 / 1.001,
    1266: 1e-3 / 2.266,
    19_000: 1e-3 / 20,
    19_005: 0.5e-3 / 20.005,
    60_000: 0.125e-3 / 61,
}


@pytest.mark.parametrize(("iteration", "rate"), BY_HAND.items())
def test_rates_by_hand(iteration: int, rate: float) -> None:
    schedule = PaperSchedule(steps_per_epoch=1267)
    assert float(schedule(iteration)) == pytest.approx(rate, rel=1e-6)


def test_the_optimizer_takes_the_rate_of_each_iteration() -> None:
    weight = keras.Variable(np.zeros(1, np.float32))
    optimizer = keras.optimizers.SGD(PaperSchedule(steps_per_epoch=1, halving_epochs=2))
    steps = []
    for _ in range(4):
        before = float(weight.numpy()[0])
        optimizer.apply([np.ones(1, np.float32)], [weight])
        steps.append(before - float(weight.numpy()[0]))
    assert steps == pytest.approx([1e-3, 1e-3 / 1.001, 0.5e-3 / 1.002, 0.5e-3 / 1.003], rel=1e-4)


def test_a_schedule_comes_back_from_its_configuration() -> None:
    schedule = PaperSchedule(steps_per_epoch=7)
    assert PaperSchedule.from_config(schedule.get_config()).get_config() == schedule.get_config()


def test_a_configuration_names_its_schedule() -> None:
    assert isinstance(schedule_of({}, steps_per_pass=10, steps=40), PaperSchedule)
    cosine = schedule_of(
        {"schedule": "cosine", "learning_rate": 0.004}, steps_per_pass=10, steps=40
    )
    warm, steps = 2, 40
    assert float(cosine(warm)) == pytest.approx(0.004)
    half = warm + (steps - warm) / 2
    assert float(cosine(half)) == pytest.approx(0.002, rel=1e-3)
    assert float(cosine(steps)) == pytest.approx(0, abs=1e-7)
