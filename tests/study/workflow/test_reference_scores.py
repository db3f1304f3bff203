from __future__ import annotations

from study.config import DatasetConfig, EvaluationConfig, SizesConfig, StudyConfig
from study.data.store import Store
from study.record.identities import ReferenceRole
from study.trial.mean_scale import TrainingImages
from study.workflow.reference_scores import score_references


def test_every_image_size_has_an_upper_bound_and_a_right_shape_at_the_mean_scale(
    store: Store,
) -> None:
    config = StudyConfig(
        name="x",
        dataset=DatasetConfig(kind="bbbc006", resize="antialiased"),
        sizes=SizesConfig(whole=[16, 32], split=64),
        evaluation=EvaluationConfig(resolution=32),
    )
    training = TrainingImages(store, [0, 2, 3, 7])
    scored = dict(score_references(config, store, [1, 6], "test", training=training, skip=()))
    sized = [
        (str(one.role), one.size)
        for one in scored
        if one.role in (ReferenceRole.UPPER_BOUND, ReferenceRole.MEAN_SCALE)
    ]
    assert sized == [
        ("upper bound", 16),
        ("right shape, mean scale", None),  # the whole-image network's
        ("upper bound", 32),
        ("right shape, mean scale", 32),
        ("upper bound", 64),
        ("right shape, mean scale", 64),
    ]
    again = score_references(config, store, [1, 6], "test", training=training, skip=set(scored))
    assert list(again) == []
    bounds = [score for one, score in scored.items() if one.role == ReferenceRole.UPPER_BOUND]
    guesses = [score for one, score in scored.items() if one.role == ReferenceRole.MEAN_SCALE]
    for bound, guess in zip(bounds, guesses, strict=True):
        assert guess.summary["ssim"] < bound.summary["ssim"]
