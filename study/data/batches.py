"""The batches of an epoch: pairs of a defocused and an in-focus patch, in an order that a seed fixes."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import keras
import numpy as np

from study.data.store import FULL_SCALE, Grid, Store

LIT = 0.5  # the share of crops that background light is added to
LIGHT = 0.2  # the most of it, of the range of the image in focus
LIGHT_KNOTS = (2, 5)  # across the image: it varies so slowly that being out of focus hardly changes it


class EpochBatches(keras.utils.PyDataset):
    """All pairs of one epoch, shuffled; float32 in [0, 1], "NYXC".

    Parameters
    ----------
    store : Store
        The prepared images.
    grid : Grid
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
        Take each patch at any place, and vary its light, drawn anew; see `vary_light`.
    held_out : sequence of sequences of int, optional
        For each field of the store the levels (as indices) that are not trained on.
    images_per_epoch : int, optional
        Defocused images in an epoch, drawn anew for each; all if not given.
    seed, epoch : int
        Same seed and epoch, same batches: an epoch can be taken up again.
    """

    def __init__(
        self,
        store: Store,
        grid: Grid,
        *,
        fields: Sequence[int],
        patch_size: int,
        patches_per_image: int | None,
        batch_size: int,
        seed: int,
        epoch: int,
        augment: bool = False,
        augment_light: bool = False,
        held_out: Sequence[Sequence[int]] | None = None,
        images_per_epoch: int | None = None,
    ) -> None:
        super().__init__()
        self._images, self._focus = store.images(grid), store.in_focus_index
        self._spans = np.ptp(store.ranges(grid), axis=-1)
        self._patch_size, self._batch_size = patch_size, batch_size
        images, rng = training_images(store, fields, held_out), np.random.default_rng([seed, epoch])
        if images_per_epoch is not None and images_per_epoch < len(images):
            images = images[rng.permutation(len(images))[:images_per_epoch]]
        self._plan = _plan_epoch(images, side=grid.size // patch_size, patches_per_image=patches_per_image, rng=rng)
        symmetries = np.random.default_rng([seed, epoch, 1]).integers(0, 8, len(self._plan))
        self._symmetries = symmetries if augment else np.zeros_like(symmetries)
        self._augment_light, self._seed = augment_light, [seed, epoch, 2]

    def __len__(self) -> int:
        return -(-len(self._plan) // self._batch_size)

    def __getitem__(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        rows = self._plan[index * self._batch_size : (index + 1) * self._batch_size]
        size, rng = self._patch_size, np.random.default_rng([*self._seed, index])
        pair = np.empty((2, len(rows), size, size), np.float32)
        symmetries = self._symmetries[index * self._batch_size : (index + 1) * self._batch_size]
        for position, ((field, level, row, column), symmetry) in enumerate(zip(rows, symmetries, strict=True)):
            window = np.s_[:] if self._augment_light else np.s_[row * size : (row + 1) * size, column * size : (column + 1) * size]
            crop = np.stack([self._images[field, at][window] for at in (level, self._focus)]) / np.float32(FULL_SCALE)
            if self._augment_light:
                crop = vary_light(crop, ratio=self._spans[field, self._focus] / self._spans[field, level], size=size, rng=rng)
            pair[:, position] = [turn(image, symmetry) for image in crop]
        return pair[0, ..., None], pair[1, ..., None]


def turn(image: np.ndarray, symmetry: int) -> np.ndarray:
    """Turn an image by ``symmetry % 4`` quarters, and mirror it from 4 on: the eight symmetries of a square."""
    turned = np.rot90(image, symmetry % 4)
    return turned[:, ::-1] if symmetry >= 4 else turned


def vary_light(pair: np.ndarray, *, ratio: float, size: int, rng: np.random.Generator) -> np.ndarray:
    """Cut a crop out at any place, add smooth background light to every other one, and normalise it by its own range, as images are.

    Light adds up, and what is smooth looks the same in focus and out of focus: the crops are images as another field, lamp or medium would
    have given them. A network that has not seen such takes every haze for defocus.

    Parameters
    ----------
    pair : numpy.ndarray, shape (2, S, S)
        An image out of focus and in focus, each in [0, 1] of its own range.
    ratio : float
        The range of the image in focus, in intensities, by that of the image out of focus.
    size : int
        Side of the crop.
    rng : numpy.random.Generator
        Draws place and light.

    Returns
    -------
    numpy.ndarray, shape (2, size, size)
        Each in [0, 1]; a flat crop is 0.
    """
    side = pair.shape[1]
    if rng.random() < LIT:
        knots = rng.random(rng.integers(LIGHT_KNOTS[0], LIGHT_KNOTS[1] + 1, 2), dtype=np.float32)
        smooth = cv2.resize(knots, (side, side), interpolation=cv2.INTER_CUBIC) * np.float32(LIGHT * rng.random() ** 2)
        pair = pair + smooth * np.array([ratio, 1], np.float32)[:, None, None]
    row, column = rng.integers(0, side - size + 1, 2)
    crop = pair[:, row : row + size, column : column + size]
    low, span = crop.min(axis=(1, 2), keepdims=True), np.ptp(crop, axis=(1, 2), keepdims=True)
    return (crop - low) / np.where(span > 0, span, 1)


def patches_of(side: int, patches_per_image: int | None) -> int:
    """Return how many patches of an image are trained on in an epoch, of an image that is `side` patches wide."""
    return min(patches_per_image or side**2, side**2)


def steps_per_epoch(images: int, *, patches: int, batch_size: int) -> int:
    """Return the number of batches in an epoch of `images` defocused images with `patches` patches each."""
    return -(-images * patches // batch_size)


def training_images(store: Store, fields: Sequence[int], held_out: Sequence[Sequence[int]] | None = None) -> np.ndarray:
    """Return the defocused images of some fields, but for those held out: indices of field and level, shape (N, 2)."""
    images = [(f, level) for f in fields for level in store.defocused_indices if held_out is None or level not in held_out[f]]
    return np.array(images, dtype=np.int64).reshape(-1, 2)


def _plan_epoch(images: np.ndarray, *, side: int, patches_per_image: int | None, rng: np.random.Generator) -> np.ndarray:
    """Return the epoch's patches in their order: field, level, row and column of the patch, shape (N, 4)."""
    count = patches_of(side, patches_per_image)
    if count == side * side:
        chosen = np.broadcast_to(np.arange(count), (len(images), count))
    else:
        chosen = rng.random((len(images), side * side)).argpartition(count, axis=1)[:, :count]
    plan = np.column_stack([np.repeat(images, count, axis=0), *np.divmod(chosen.reshape(-1), side)])
    return rng.permutation(plan)
