"""Closed files packed with zstd in frames of a megabyte, with a table of the frames at the end: any part can be read alone.

The form is the "seekable format" of the zstd project; every zstd tool reads it, and skips the table.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pyengine.optional import require
from pyengine.store_errors import StoreDamaged
from pyengine.stores.file_append import sync_folder

FRAME_BYTES = 1 << 20

_TABLE_MAGIC = 0x184D2A5E
_FOOT_MAGIC = 0x8F92EAB1
_HEAD = struct.Struct("<II")
_ENTRY = struct.Struct("<II")
_FOOT = struct.Struct("<IBI")
_CHECKSUMS = 0x80
"""Bit of the foot: each entry has four bytes more."""


def packed_path(path: Path) -> Path:
    """Name the packed form of a file."""
    return path.with_name(f"{path.name}.zst")


def pack(path: Path, go_on: Callable[[], bool] = lambda: True) -> bool:
    """Pack a file, and remove it once its packed form is safe on the disk.

    Parameters
    ----------
    path : Path
    go_on : callable
        Asked once a megabyte; when it says False, everything is as before.

    Returns
    -------
    bool
        Whether it is packed.

    Raises
    ------
    OSError
        It can't be read or written; everything is as before.
    """
    target = packed_path(path)
    unfinished = target.with_name(f"{target.name}.tmp")
    compressor = require("zstandard", "zstd").ZstdCompressor(level=3, write_checksum=True)
    entries = []
    try:
        with path.open("rb") as plain, unfinished.open("wb") as packed:
            while block := plain.read(FRAME_BYTES):
                if not go_on():
                    return False
                frame = compressor.compress(block)
                packed.write(frame)
                entries.append(_ENTRY.pack(len(frame), len(block)))
            table = b"".join(entries) + _FOOT.pack(len(entries), 0, _FOOT_MAGIC)
            packed.write(_HEAD.pack(_TABLE_MAGIC, len(table)) + table)
            packed.flush()
            os.fsync(packed.fileno())
        unfinished.replace(target)
    finally:
        unfinished.unlink(missing_ok=True)
    sync_folder(target)
    path.unlink()
    return True


class PackedFile:
    """Reads a packed file as if it weren't.

    Attributes
    ----------
    path : Path
    size : int
        Bytes of the unpacked file.

    Raises
    ------
    StoreDamaged
        It isn't of this form.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._decompressor = require("zstandard", "zstd").ZstdDecompressor()
        self._fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        self._last: tuple[int, bytes] | None = None
        try:
            self._frames = self._table()
        except BaseException:
            os.close(self._fd)
            raise
        self.size = sum(plain for _, _, plain in self._frames)

    def _table(self) -> list[tuple[int, int, int]]:
        """List place, length and unpacked length of each frame."""
        packed_size = os.fstat(self._fd).st_size
        foot = os.pread(self._fd, _FOOT.size, max(0, packed_size - _FOOT.size))
        count, flags, magic = _FOOT.unpack(foot) if len(foot) == _FOOT.size else (0, 0, 0)
        entry_bytes = _ENTRY.size + (4 if flags & _CHECKSUMS else 0)
        table_bytes = count * entry_bytes + _FOOT.size
        if magic != _FOOT_MAGIC or table_bytes + _HEAD.size > packed_size:
            raise StoreDamaged(f"file store: {self.path} must end with a table of its frames, as the seekable form of zstd has")
        table = os.pread(self._fd, table_bytes, packed_size - table_bytes)
        frames, at = [], 0
        for i in range(count):
            length, plain = _ENTRY.unpack_from(table, i * entry_bytes)
            frames.append((at, length, plain))
            at += length
        if at + _HEAD.size + table_bytes != packed_size:
            raise StoreDamaged(f"file store: {self.path} must have {packed_size} bytes by its table of frames, has others")
        return frames

    def read(self, at: int, count: int) -> bytes:
        """Read up to `count` bytes of the unpacked file."""
        parts = []
        begin = 0
        for number, (_, _, plain) in enumerate(self._frames):
            if begin < at + count and at < begin + plain:
                parts.append(self._frame(number)[max(0, at - begin) : at + count - begin])
            begin += plain
        return b"".join(parts)

    def _frame(self, number: int) -> bytes:
        if self._last is not None and self._last[0] == number:
            return self._last[1]
        at, length, plain = self._frames[number]
        zstandard: Any = require("zstandard", "zstd")
        try:
            block: bytes = self._decompressor.decompress(os.pread(self._fd, length, at), max_output_size=plain)
        except zstandard.ZstdError as error:
            raise StoreDamaged(f"file store: {self.path}, byte {at}: frame must be whole, is damaged ({error})") from error
        if len(block) != plain:
            raise StoreDamaged(f"file store: {self.path}, byte {at}: frame must hold {plain} bytes, holds {len(block)}")
        self._last = number, block
        return block

    def close(self) -> None:
        """Close the descriptor."""
        fd, self._fd = self._fd, -1
        if fd != -1:
            os.close(fd)
