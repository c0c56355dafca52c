"""A thread that packs the closed files of a log."""

from __future__ import annotations

import logging
import threading
from pathlib import Path

from pyengine.optional import require
from pyengine.stores.file_history import closed_files
from pyengine.stores.file_packed import pack, packed_path

_log = logging.getLogger("pyengine.stores.file")

_RETRY_S = 5.0


class Packer:
    """Packs closed files with zstd, one after the other, and tries again what failed.

    Attributes
    ----------
    packed, errors : int
        Files packed, and attempts that failed.

    Raises
    ------
    MissingExtraError
        The library isn't installed.
    """

    def __init__(self, path: Path) -> None:
        require("zstandard", "zstd")
        self.packed = 0
        self.errors = 0
        self._path = path
        self._wanted = threading.Event()
        self._wanted.set()
        self._closing = False
        self._failing = False
        self._thread = threading.Thread(target=self._run, name="pyengine-file-packer", daemon=True)
        self._thread.start()

    def wake(self) -> None:
        """Tell that a file was closed."""
        self._wanted.set()

    def close(self) -> None:
        """End the thread; a file that is half packed stays as it was."""
        self._closing = True
        self._wanted.set()
        if threading.current_thread() is not self._thread:
            self._thread.join()

    def _run(self) -> None:
        while not self._closing:
            self._wanted.wait(_RETRY_S if self._failing else None)
            self._wanted.clear()
            try:
                self._pack_all()
            except Exception as error:  # noqa: BLE001  whatever it was, the plain file is there and is tried again
                self.errors += 1
                if not self._failing:
                    _log.error("closed files of %s can't be packed, and are tried again: %s", self._path, error)
                self._failing = True
            else:
                self._failing = False

    def _pack_all(self) -> None:
        for _, path in closed_files(self._path):
            if self._closing:
                return
            if not path.exists():
                continue
            if packed_path(path).exists():
                # A packed file has its name only when it is whole: the end came before the plain one was removed.
                path.unlink()
            elif pack(path, lambda: not self._closing):
                self.packed += 1
