from __future__ import annotations

import multiprocessing
from pathlib import Path

import numpy as np
import pytest

from study.data.store import Store, open_store
from study.errors import StudyError
from tests.conftest import RESOLUTIONS


def test_processes_of_one_node_share_one_copy(store: Store, tmp_path: Path) -> None:
    with multiprocessing.get_context("spawn").Pool(4) as pool:
        copies = pool.starmap(open_store, [(str(store.folder), str(tmp_path / "near"))] * 4)
    (folder,) = {copy.folder for copy in copies}
    assert [
        path.name for path in (tmp_path / "near").iterdir() if not path.name.startswith(".")
    ] == [folder.name]
    copy = Store(folder)
    assert copy.fingerprint == store.fingerprint
    for resolution in RESOLUTIONS:
        np.testing.assert_array_equal(copy.images(resolution), store.images(resolution))
    made = (folder / "store.json").stat().st_mtime_ns
    open_store(str(store.folder), str(tmp_path / "near"))
    assert (folder / "store.json").stat().st_mtime_ns == made  # not again


def test_without_a_folder_of_the_nodes_own_the_store_is_read_where_it_is(store: Store) -> None:
    assert open_store(str(store.folder)).folder == store.folder


def test_a_folder_that_cannot_be_made_is_named(store: Store, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(
        StudyError, match=r"cannot be copied to .*/file/near.*resources.node_folder"
    ):
        open_store(str(store.folder), str(tmp_path / "file" / "near"))
    assert (tmp_path / "file").read_text() == ""


def test_a_lock_that_cannot_be_taken_is_an_error_not_a_wait(store: Store, tmp_path: Path) -> None:
    near = f"{store.folder.name}-{store.fingerprint[:12]}"
    (tmp_path / f".{near}.lock").mkdir()  # where the lock file goes
    with pytest.raises(StudyError, match=r"cannot be copied to .*resources\.node_folder"):
        open_store(str(store.folder), str(tmp_path))
    assert not (tmp_path / near).exists()
