"""The batches of an epoch: pairs of a defocused and an in-focus patch, in an order that a seed
fixes.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import keras
import numpy as np

from study.data.store import FULL_SCALE, Resolution, Store, change_range

# threads that cut batches. With one, an epoch does not end before tf.data's tuning of its own
# prefetching wakes, which sleeps for 10 ms x 2^k: epochs of 3 s took 5, of 6 s 10; with two it
# waits for .1 s, and the batches and all numbers are the same
WORKERS = 2
LIT = 0.5  # the share of crops that background light is added to
LIGHT = 0.2  # the most of it, of the range of the image in focus
# across the image: light varies so slowly that being out of focus hardly changes it
LIGHT_KNOTS = (2, 5)
# of an image's range: added to the distance from the image in focus, so that no weight is infinite
LEAST_DEFOCUS = 1e-3
# of the range of the image in focus: a crop that holds less is not stretched to [0, 1]
LEAST_SPAN = 0.1


class EpochBatches(keras.utils.PyDataset):
    """All pairs of one epoch, shuffled; float32, "NYXC", the defocused patches in [0, 1].

    Parameters
    ----------
    store : Store
        The prepared images.
    resolution : Resolution
        The image size that the network is trained at.
    fields : sequence of int
        The fields to train on, at every defocused level.
    patch_size : int
        Side of a patch; the image size for the whole-image network.
    patches_per_image : int, optional
        Patches sampled from each image; all if not given.
    batch_size : int
        Pairs in a batch; the last one may be smaller.
    augment : bool
        Turn and mirror each pair by one of the eight symmetries of a square, drawn anew.
    augment_light : bool
        Take each patch at any place, drawn anew, in other light and normalised by its own range;
        see `relight`.
    weigh_near_focus : bool
        Batches hold a third array, shape (N,): how much each pair counts, the inverse of how far
        its whole image is from the one in focus (their root mean squared difference, in units of
        [0, 1], and `LEAST_DEFOCUS`). What is nearly in focus has the least to gain and the most to
        lose.
    held_out : sequence of sequences of int, optional
        For each field of the store the levels (as indices) that are not trained on.
    images_per_epoch : int, optional
        Defocused images in an epoch, drawn anew for each; all if not given.
    steps : int, optional
        Batches at most.
    seed, epoch : int
        Same seed and epoch, same batches: an epoch can be repeated.
    """

    def __init__(
        self,
        store: Store,
        resolution: Resolution,
        *,
        fields: Sequence[int],
        patch_size: int,
        patches_per_image: int | None,
        batch_size: int,
        seed: int,
        epoch: int,
        augment: bool = False,
        augment_light: bool = False,
        weigh_near_focus: bool = False,
        held_out: Sequence[Sequence[int]] | None = None,
        images_per_epoch: int | None = None,
        steps: int | None = None,
    ) -> None:
        super().__init__(workers=WORKERS)
        self._images, self._focus = store.images(resolution), store.in_focus_index
        self._ranges, self._side = np.array(store.ranges(resolution)), resolution.size
        self._normalisation = store.normalisation
        self._patch_size, self._batch_size = patch_size, batch_size
        images, rng = training_images(store, fields, held_out), np.random.default_rng([seed, epoch])
        if images_per_epoch is not None and images_per_epoch < len(images):
            images = images[rng.permutation(len(images))[:images_per_epoch]]
        self._plan = _plan_epoch(
            images, side=resolution.size // patch_size, patches_per_image=patches_per_image, rng=rng
        )
        if steps is not None:
            self._plan = self._plan[: steps * batch_size]
        symmetries = np.random.default_rng([seed, epoch, 1]).integers(0, 8, len(self._plan))
        self._symmetries = symmetries if augment else np.zeros_like(symmetries)
        self._augment_light, self._weigh = augment_light, weigh_near_focus
        self._seed = [seed, epoch, 2]

    def __len__(self) -> int:
        return -(-len(self._plan) // self._batch_size)

    def __getitem__(self, index: int) -> tuple[np.ndarray, ...]:
        rows = self._plan[index * self._batch_size : (index + 1) * self._batch_size]
        size, rng = self._patch_size, np.random.default_rng([*self._seed, index])
        pair = np.empty((2, len(rows), size, size), np.float32)
        symmetries = self._symmetries[index * self._batch_size : (index + 1) * self._batch_size]
        for position, ((field, level, row, column), symmetry) in enumerate(
            zip(rows, symmetries, strict=True)
        ):
            top, left = (
                rng.integers(0, self._side - size + 1, 2)
                if self._augment_light
                else (row * size, column * size)
            )
            window = np.s_[top : top + size, left : left + size]
            crop = self._pair(field, level, window)
            if self._augment_light:
                crop = relight(
                    crop,
                    draw_light(self._side, rng)[window],
                    ratio=np.ptp(self._ranges[field, self._focus])
                    / np.ptp(self._ranges[field, level]),
                    normalisation=self._normalisation,
                )
            pair[:, position] = [turn(image, symmetry) for image in crop]
        batch = pair[0, ..., None], pair[1, ..., None]
        if not self._weigh:
            return batch
        return (*batch, np.array([self._weight(field, level) for field, level in rows[:, :2]]))

    def _pair(self, field: int, level: int, window: tuple[slice, ...] = ()) -> np.ndarray:
        """Return a part of a defocused and of its in-focus image, shape (2, Y, X), float32, as the
        store's normalisation has them.
        """
        pair = np.stack(
            [self._images[field, at][window] for at in (level, self._focus)]
        ) / np.float32(FULL_SCALE)
        if self._normalisation == "pair":
            ranges = self._ranges[field]
            pair[1] = change_range(pair[1], ranges[self._focus], ranges[level])
        return pair

    def _weight(self, field: int, level: int) -> np.float32:
        defocused, sharp = self._pair(field, level)
        return np.float32(1 / (np.sqrt(np.mean((defocused - sharp) ** 2)) + LEAST_DEFOCUS))


def turn(image: np.ndarray, symmetry: int) -> np.ndarray:
    """Turn an image by ``symmetry % 4`` quarters, and mirror it from 4 on: the eight symmetries of
    a square.
    """
    turned = np.rot90(image, symmetry % 4)
    return turned[:, ::-1] if symmetry >= 4 else turned


def draw_light(side: int, rng: np.random.Generator) -> np.ndarray:
    """Draw smooth background light for an image, shape (side, side), in units of the in-focus
    image's range: none at all for a half of them, faint for most.
    """
    if rng.random() >= LIT:
        return np.zeros((side, side), np.float32)
    knots = rng.random(rng.integers(LIGHT_KNOTS[0], LIGHT_KNOTS[1] + 1, 2), dtype=np.float32)
    return cv2.resize(knots, (side, side), interpolation=cv2.INTER_LINEAR) * np.float32(
        LIGHT * rng.random() ** 2
    )


def relight(
    pair: np.ndarray, light: np.ndarray, *, ratio: float, normalisation: str = "own"
) -> np.ndarray:
    """Add light to a crop and normalise it by its own range, as images are.

    Light adds up, and what is smooth looks the same in focus and out of focus: the crops are images
    as another field, lamp or medium would have given them. A network that has not seen such takes
    every haze for defocus.

    Parameters
    ----------
    pair : numpy.ndarray, shape (2, Y, X)
        A crop out of focus and in focus, each in units of its whole image's range; with ``pair``
        both in units of the range of the one out of focus.
    light : numpy.ndarray, shape (Y, X)
        In units of the range of the image in focus.
    ratio : float
        That range, in intensities, by the range of the image out of focus.
    normalisation : str
        The store's.

    Returns
    -------
    numpy.ndarray, shape (2, Y, X)
        Each from 0 to 1, or to less where the crop holds less than `LEAST_SPAN`; a flat crop is 0.
        With ``pair`` this holds of the crop out of focus, and the other one is in its units.
    """
    own = normalisation == "own"
    units = np.array([ratio, 1 if own else ratio], np.float32)[:, None, None]
    lit = pair + light * units
    by = lit if own else lit[:1]
    span = np.maximum(np.ptp(by, axis=(1, 2), keepdims=True), LEAST_SPAN * units[: len(by)])
    return (lit - by.min(axis=(1, 2), keepdims=True)) / span


def patches_of(side: int, patches_per_image: int | None) -> int:
    """Return how many patches of an image are trained on in an epoch, of an image that is `side`
    patches wide.
    """
    return min(patches_per_image or side**2, side**2)


def steps_per_epoch(images: int, *, patches: int, batch_size: int) -> int:
    """Return the number of batches in an epoch of `images` defocused images with `patches` patches
    each.
    """
    return -(-images * patches // batch_size)


def training_images(
    store: Store, fields: Sequence[int], held_out: Sequence[Sequence[int]] | None = None
) -> np.ndarray:
    """Return the defocused images of some fields, but for those held out: indices of field and
    level, shape (N, 2).
    """
    images = [
        (f, level)
        for f in fields
        for level in store.defocused_indices
        if held_out is None or level not in held_out[f]
    ]
    return np.array(images, dtype=np.int64).reshape(-1, 2)


def _plan_epoch(
    images: np.ndarray, *, side: int, patches_per_image: int | None, rng: np.random.Generator
) -> np.ndarray:
    """Return the epoch's patches in their order: field, level, row and column of the patch, shape
    (N, 4).
    """
    count = patches_of(side, patches_per_image)
    if count == side * side:
        chosen = np.broadcast_to(np.arange(count), (len(images), count))
    else:
        chosen = rng.random((len(images), side * side)).argpartition(count, axis=1)[:, :count]
    plan = np.column_stack([np.repeat(images, count, axis=0), *np.divmod(chosen.reshape(-1), side)])
    return rng.permutation(plan)
