"""How other people's libraries are loaded: without a word on the screen, and without a port that
other machines reach.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator


@contextlib.contextmanager
def quiet_import() -> Iterator[None]:
    """Drop what TensorFlow's libraries write to the standard error while they are loaded; no
    setting of theirs does.

    Ray, if it is loaded here, keeps a cluster of its own to the loopback interface: it reads that
    wish when it is loaded.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    if "RAY_ADDRESS" not in os.environ:
        # Ray's name for it; else some of its ports take any sender
        os.environ.setdefault("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")
    sys.stderr.flush()
    kept = os.dup(2)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)
