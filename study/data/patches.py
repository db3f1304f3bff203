"""Cut images into patches and put them together again."""

from __future__ import annotations

import numpy as np


def split_patches(images: np.ndarray, patch_size: int) -> np.ndarray:
    """Cut square images, shape (N, S, S), row by row into patches, shape (N * (S / P)**2, P, P).

    Raises
    ------
    ValueError
        If `patch_size` does not divide the image size.
    """
    count, size = images.shape[:2]
    if images.shape[1] != images.shape[2] or size % patch_size:
        raise ValueError(
            f"patch_size must divide a square image's size; got images {images.shape}, patch_size"
            f" {patch_size}"
        )
    side = size // patch_size
    patches = images.reshape(count, side, patch_size, side, patch_size).swapaxes(2, 3)
    return patches.reshape(count * side * side, patch_size, patch_size)


def stitch_patches(patches: np.ndarray, image_size: int) -> np.ndarray:
    """Put patches, shape (N * (S / P)**2, P, P), together to images, shape (N, S, S): the inverse
    of `split_patches`.

    Raises
    ------
    ValueError
        If the number or size of the patches does not fit `image_size`.
    """
    patch_size = patches.shape[1]
    side = image_size // patch_size
    if side * patch_size != image_size or len(patches) % (side * side):
        raise ValueError(f"patches {patches.shape} do not make images of size {image_size}")
    tiles = patches.reshape(-1, side, side, patch_size, patch_size).swapaxes(2, 3)
    return tiles.reshape(-1, image_size, image_size)
