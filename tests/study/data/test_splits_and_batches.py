import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from study.data.batches import (
    EpochBatches,
    draw_light,
    relight,
    steps_per_epoch,
    training_images,
    turn,
)
from study.data.patches import split_patches, stitch_patches
from study.data.splits import hold_out_within_levels, split_by_well
from study.data.store import Resolution, Store
from study.errors import StudyError


@given(
    wells=st.integers(3, 60),
    fields=st.integers(1, 3),
    seed=st.integers(0, 99),
    validation=st.sampled_from([0.0, 0.16]),
)
def test_no_well_is_on_two_sides_and_no_field_is_lost(
    wells: int, fields: int, seed: int, validation: float
) -> None:
    names = [f"w{well}" for well in range(wells) for _ in range(fields)]
    split = split_by_well(names, test=0.2, validation=validation, seed=seed)
    sides = [split.train, split.validation, split.test]
    assert sorted([*sides[0], *sides[1], *sides[2]]) == list(range(len(names)))
    held = [{names[field] for field in side} for side in sides]
    assert held[0].isdisjoint(held[1])
    assert held[0].isdisjoint(held[2])
    assert held[1].isdisjoint(held[2])
    assert len(held[2]) == max(1, round(0.2 * wells))
    assert bool(held[1]) == (validation > 0)


def test_shares_of_the_paper_and_of_a_search() -> None:
    wells = [f"w{index // 2}" for index in range(768)]
    split = split_by_well(wells, test=0.2, validation=0.16, seed=0)
    assert [
        len({wells[field] for field in side})
        for side in (split.train, split.validation, split.test)
    ] == [246, 61, 77]
    assert split == split_by_well(wells, test=0.2, validation=0.16, seed=0)
    assert split != split_by_well(wells, test=0.2, validation=0.16, seed=1)


def test_too_few_wells() -> None:
    with pytest.raises(StudyError, match="cannot be divided"):
        split_by_well(["a", "b"], test=0.2, validation=0.16, seed=0)


@given(count=st.integers(1, 3), side=st.integers(1, 5), patch=st.integers(1, 6))
def test_split_and_stitch_are_inverses(count: int, side: int, patch: int) -> None:
    images = np.random.default_rng(0).random((count, side * patch, side * patch))
    patches = split_patches(images, patch)
    assert patches.shape == (count * side * side, patch, patch)
    np.testing.assert_array_equal(patches[0], images[0, :patch, :patch])
    np.testing.assert_array_equal(patches[side - 1], images[0, :patch, -patch:])  # row by row
    np.testing.assert_array_equal(stitch_patches(patches, side * patch), images)


def test_patches_that_do_not_fit() -> None:
    with pytest.raises(ValueError, match="patch_size 3"):
        split_patches(np.zeros((1, 8, 8)), 3)
    with pytest.raises(ValueError, match="size 8"):
        stitch_patches(np.zeros((3, 4, 4)), 8)


def batches(store: Store, **changes: object) -> EpochBatches:
    values: dict[str, object] = {
        "fields": [0, 3, 4],
        "patch_size": 64,
        "patches_per_image": None,
        "batch_size": 5,
        "seed": 1,
        "epoch": 0,
    }
    return EpochBatches(store, Resolution(64, "antialiased"), **(values | changes))


def gather(epoch: EpochBatches) -> tuple[np.ndarray, np.ndarray]:
    parts = [epoch[index] for index in range(len(epoch))]
    return np.concatenate([part[0] for part in parts]), np.concatenate([part[1] for part in parts])


def test_an_epoch_holds_every_defocused_image_of_the_fields_once_beside_its_target(
    store: Store,
) -> None:
    x, y = gather(batches(store))
    assert x.shape == y.shape == (3 * 4, 64, 64, 1)
    assert x.dtype == np.float32
    resolution, levels = Resolution(64, "antialiased"), store.defocused_indices
    expected = {
        store.as_float(resolution, f, lv).tobytes(): store.as_float(
            resolution, f, store.in_focus_index
        )
        for f in (0, 3, 4)
        for lv in levels
    }
    assert {image.tobytes() for image in x[..., 0]} == set(expected)
    for image, target in zip(x[..., 0], y[..., 0], strict=True):
        np.testing.assert_array_equal(expected[image.tobytes()], target)


def test_the_papers_split_within_levels_holds_a_fifth_of_each_level_out_and_trains_on_the_rest(
    store: Store,
) -> None:
    held_out = hold_out_within_levels(768, 34, share=0.2, seed=0)
    assert [sum(level in levels for levels in held_out) for level in range(34)] == [154] * 34
    assert (
        sum(0 < len(levels) < 34 for levels in held_out) > 760
    )  # nearly every field is on both sides
    assert (
        held_out
        == hold_out_within_levels(768, 34, share=0.2, seed=0)
        != hold_out_within_levels(768, 34, share=0.2, seed=1)
    )
    held_out = hold_out_within_levels(len(store.fields), len(store.levels), share=0.2, seed=0)
    pairs = {
        (int(field), int(level))
        for field, level in training_images(store, range(len(store.fields)), held_out)
    }
    every = {
        (field, level) for field in range(len(store.fields)) for level in store.defocused_indices
    }
    assert pairs == {(field, level) for field, level in every if level not in held_out[field]}
    assert len(pairs) < len(every)


def test_batches_come_back_by_seed_and_epoch(store: Store) -> None:
    first, again = gather(batches(store)), gather(batches(store))
    np.testing.assert_array_equal(first[0], again[0])
    assert not np.array_equal(first[0], gather(batches(store, epoch=1))[0])
    assert not np.array_equal(first[0], gather(batches(store, seed=2))[0])


def test_all_patches_are_those_of_split_patches(store: Store) -> None:
    x, _ = gather(batches(store, fields=[2], patch_size=16, batch_size=7))
    whole = store.as_float(Resolution(64, "antialiased"), 2, np.array(store.defocused_indices))
    assert sorted(patch.tobytes() for patch in x[..., 0]) == sorted(
        patch.tobytes() for patch in split_patches(whole, 16)
    )


def test_sampled_patches_differ_within_an_image_and_between_epochs(store: Store) -> None:
    seen = [
        gather(batches(store, fields=[2], patch_size=16, patches_per_image=3, epoch=epoch))[0]
        for epoch in range(2)
    ]
    for x in seen:
        assert len(x) == 3 * 4
        assert len({patch.tobytes() for patch in x}) == 12
    assert {patch.tobytes() for patch in seen[0]} != {patch.tobytes() for patch in seen[1]}


def test_steps_of_the_paper() -> None:
    assert steps_per_epoch(614 * 33, patches=1, batch_size=16) == 1267


def test_the_eight_symmetries_of_a_square_turn_both_images_of_a_pair_alike(store: Store) -> None:
    square = np.arange(9).reshape(3, 3)
    turned = {turn(square, symmetry).tobytes() for symmetry in range(8)}
    assert len(turned) == 8
    assert all(sorted(turn(square, symmetry).ravel()) == list(range(9)) for symmetry in range(8))
    plain, augmented = (
        EpochBatches(
            store,
            Resolution(32, "antialiased"),
            fields=[0, 1],
            patch_size=16,
            patches_per_image=None,
            batch_size=64,
            seed=1,
            epoch=0,
            augment=augment,
        )[0]
        for augment in (False, True)
    )
    used = set()
    for index in range(len(plain[0])):
        fitting = [
            symmetry
            for symmetry in range(8)
            if all(
                np.array_equal(turn(a[index, ..., 0], symmetry), b[index, ..., 0])
                for a, b in zip(plain, augmented, strict=True)
            )
        ]
        assert fitting
        used.update(fitting)
    assert used == set(range(8))


def misfit(pair: np.ndarray, sigma: float) -> float:
    """RMS, away from the border, of what gain and offset do not explain of an image out of focus by
    a Gaussian of `sigma` px.
    """
    border = int(6 * sigma)
    inner = np.s_[border:-border, border:-border]
    given, expected = (
        pair[0][inner].ravel(),
        cv2.GaussianBlur(pair[1], (0, 0), sigma)[inner].ravel(),
    )
    return float(
        np.sqrt(np.mean((np.polyval(np.polyfit(given, expected, 1), given) - expected) ** 2))
    )


def test_relit_pairs_are_such_as_a_microscope_could_have_given() -> None:
    """Whatever light was added: the image out of focus is the defocused image in focus, but for
    gain and offset.
    """
    rng = np.random.default_rng(0)
    sharp = np.zeros((96, 96), np.float32)
    for row, column, height in rng.integers(8, 88, (30, 3)):
        cv2.circle(sharp, (int(column), int(row)), 3, 0.2 + float(height) / 110, -1)
    images = np.stack([cv2.GaussianBlur(sharp, (0, 0), 2.0), sharp])
    spans = np.ptp(images, axis=(1, 2))
    pair = (images - images.min(axis=(1, 2), keepdims=True)) / spans[:, None, None]
    ratio = float(spans[1] / spans[0])
    lights = [draw_light(96, np.random.default_rng(seed)) for seed in range(60)]
    assert 20 < sum(light.any() for light in lights) < 40
    assert all(0 <= light.min() <= light.max() <= 0.2 for light in lights)
    lit = [relight(pair, light, ratio=ratio) for light in lights]
    for one in lit:
        np.testing.assert_allclose(
            [one.min(axis=(1, 2)), one.max(axis=(1, 2))], [[0, 0], [1, 1]], atol=1e-6
        )
    fitting = max(misfit(one, 2.0) for one in lit)
    assert fitting < 0.003
    wrong = [relight(pair, light, ratio=1.0) for light in lights]
    assert (
        max(misfit(one, 2.0) for one in wrong) > 3 * fitting
    )  # the fit would have shown light that was added in other units


def test_a_crop_that_holds_next_to_nothing_is_not_stretched() -> None:
    dim = np.zeros((2, 8, 8), np.float32)
    dim[0, :, 4:], dim[1, :, 4:] = (
        0.01,
        0.02,
    )  # of the ranges of two whole images, the one in focus twice as wide
    lit = relight(dim, np.zeros((8, 8), np.float32), ratio=2.0)
    np.testing.assert_allclose(lit.max(axis=(1, 2)), [0.01 / 0.2, 0.02 / 0.1], rtol=1e-6)
    assert not relight(
        np.full((2, 8, 8), 0.5, np.float32), np.zeros((8, 8), np.float32), ratio=1.0
    ).any()


def test_relit_crops_lie_anywhere_and_come_back_by_seed_and_epoch(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    options: dict[str, object] = {"patch_size": 16, "patches_per_image": 2, "augment_light": True}
    x, y = gather(batches(store, **options))
    assert x.shape == y.shape == (3 * 4 * 2, 16, 16, 1)
    assert x.dtype == np.float32
    np.testing.assert_array_equal(x, gather(batches(store, **options))[0])
    assert not np.array_equal(x, gather(batches(store, **options, epoch=1))[0])
    assert not np.array_equal(x, gather(batches(store, **options, seed=2))[0])
    monkeypatch.setattr("study.data.batches.LIT", 0.0)
    _, unlit = gather(batches(store, **options))
    resolution, places = Resolution(64, "antialiased"), set()
    for crop in unlit[..., 0]:
        matches = [
            (row, column)
            for field in (0, 3, 4)
            for row, column in np.argwhere(
                cv2.matchTemplate(
                    store.as_float(resolution, field, store.in_focus_index),
                    np.ascontiguousarray(crop),
                    cv2.TM_CCOEFF_NORMED,
                )
                > 0.99999
            )
        ]
        places.update((int(row) % 16, int(column) % 16) for row, column in matches[:1])
    assert (
        len(places) > 8
    )  # of 24 crops: where they begin in the patches that a crop without light would be


def test_light_is_added_in_the_intensities_of_both_images(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A crop as large as its image is what the image would be normalised to, had the light been
    there before.
    """
    resolution, focus = Resolution(64, "antialiased"), store.in_focus_index
    ramp = np.linspace(0, 0.2, 64, dtype=np.float32)[:, None].repeat(64, axis=1)
    monkeypatch.setattr("study.data.batches.draw_light", lambda side, rng: ramp)
    x, y = gather(batches(store, fields=[2], augment_light=True))
    low, high = store.ranges(resolution)[2].T
    assert np.ptp(high - low) > 0.02 * (high - low)[focus]
    intensities = [
        store.as_float(resolution, 2, level) * (high - low)[level] + low[level]
        for level in range(len(store.levels))
    ]
    lit = [image + ramp * (high - low)[focus] for image in intensities]
    expected = [(image - image.min()) / np.ptp(image) for image in lit]
    for image, target in zip(x[..., 0], y[..., 0], strict=True):
        np.testing.assert_allclose(target, expected[focus], atol=1e-5)
        assert (
            min(float(np.abs(image - expected[level]).max()) for level in store.defocused_indices)
            < 1e-5
        )


def test_a_pair_counts_by_how_near_its_whole_image_is_to_the_focus(store: Store) -> None:
    options: dict[str, object] = {"patch_size": 16, "patches_per_image": 2}
    plain, weighed = batches(store, **options), batches(store, **options, weigh_near_focus=True)
    resolution, counted = Resolution(64, "antialiased"), []
    for index in range(len(plain)):
        x, y, weights = weighed[index]
        for expected, same in zip(plain[index], (x, y), strict=True):
            np.testing.assert_array_equal(same, expected)
        for crop, weight in zip(x[..., 0], weights, strict=True):
            field, level = next(
                (field, level)
                for field in (0, 3, 4)
                for level in store.defocused_indices
                if any(
                    np.array_equal(crop, part)
                    for part in tiles(store.as_float(resolution, field, level))
                )
            )
            difference = store.as_float(resolution, field, level) - store.as_float(
                resolution, field, store.in_focus_index
            )
            assert weight == pytest.approx(1 / (np.linalg.norm(difference) / 64 + 0.001), rel=1e-5)
            counted.append(float(weight))
    assert max(counted) > 1.5 * min(counted)


def tiles(image: np.ndarray) -> list[np.ndarray]:
    return [
        image[row : row + 16, column : column + 16]
        for row in range(0, 64, 16)
        for column in range(0, 64, 16)
    ]


def test_an_epoch_can_be_a_sample_that_differs_by_epoch_and_comes_back_with_its_seed(
    store: Store,
) -> None:
    def pairs(epoch: int, **changes: int) -> list[bytes]:
        batches = EpochBatches(
            store,
            Resolution(16, "antialiased"),
            fields=range(len(store.fields)),
            patch_size=16,
            patches_per_image=None,
            batch_size=4,
            epoch=epoch,
            **({"seed": 0, "images_per_epoch": 10} | changes),
        )
        assert len(batches) == 3
        return [image.tobytes() for index in range(3) for image in batches[index][0]]

    first = pairs(0)
    assert len(first) == len(set(first)) == 10
    assert pairs(0) == first
    assert set(pairs(1)) != set(first)
    assert set(pairs(0, seed=1)) != set(first)
    everything = EpochBatches(
        store,
        Resolution(16, "antialiased"),
        fields=range(len(store.fields)),
        patch_size=16,
        patches_per_image=None,
        batch_size=4,
        epoch=0,
        seed=0,
        images_per_epoch=10_000,
    )
    assert len(everything) == -(-len(store.fields) * len(store.defocused_indices) // 4)
