"""Bytes of plain, gzip, xz and zstd files. What a file is packed with is told by its first bytes, never by its name."""

from __future__ import annotations

import gzip
import lzma
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, cast

from pyengine.optional import require
from pyengine.replay.errors import ReplayError

BLOCK_BYTES = 1 << 21
"""Size of the blocks that files are read in."""

SUFFIXES = (".gz", ".xz", ".zst")
"""Suffixes that say how a file is to be packed when it is written."""

_GZIP = b"\x1f\x8b"
_XZ = b"\xfd7zXZ\x00"
_ZSTD = b"\x28\xb5\x2f\xfd"


def bare_name(path: Path) -> str:
    """Name of a file without the suffix of its compression, in lower case."""
    name = path.name.lower()
    for suffix in SUFFIXES:
        name = name.removesuffix(suffix)
    return name


def read_blocks(path: Path) -> Iterator[bytes]:
    """Read a file piece by piece, unpacked.

    Yields
    ------
    bytes
        At least one byte; `BLOCK_BYTES` of the plain or of the packed file.

    Raises
    ------
    ReplayError
        The file can't be read, or its compressed stream is damaged or cut off.
    """
    packing = "plain"
    try:
        with path.open("rb") as file:
            packing, unpacked = _unpack(file)
            yield from unpacked
    except OSError as error:
        if isinstance(error, gzip.BadGzipFile):
            raise ReplayError(path, "a whole gzip file", f"damaged ({error})") from error
        raise ReplayError(path, "a readable file", str(error.strerror or error), subject="path") from error
    except EOFError as error:
        raise ReplayError(path, f"a whole {packing} file", "cut off") from error
    except (zlib.error, lzma.LZMAError) as error:
        raise ReplayError(path, f"a whole {packing} file", f"damaged ({error})") from error


def read_all(path: Path) -> bytes:
    """Read a whole file, unpacked. Errors as for `read_blocks`."""
    return b"".join(read_blocks(path))


def _unpack(file: BinaryIO) -> tuple[str, Iterator[bytes]]:
    """Tell the packing from the first bytes, and give the blocks inside."""
    head = file.read(6)
    file.seek(0)
    if head.startswith(_GZIP):
        return "gzip", _blocks_of(cast("BinaryIO", gzip.GzipFile(fileobj=file)))
    if head.startswith(_XZ):
        return "xz", _blocks_of(cast("BinaryIO", lzma.LZMAFile(file)))
    if head.startswith(_ZSTD):
        return "zstd", _zstd_blocks(file)
    return "plain", _blocks_of(file)


def _blocks_of(file: BinaryIO) -> Iterator[bytes]:
    while block := file.read(BLOCK_BYTES):
        yield block


def _zstd_blocks(file: BinaryIO) -> Iterator[bytes]:
    """Unpack frame after frame; the library's own stream reader doesn't notice a frame that was cut off."""
    zstandard = require("zstandard", "zstd")
    frame: Any = None
    try:
        while block := file.read(BLOCK_BYTES):
            rest = block
            while rest:
                frame = frame or zstandard.ZstdDecompressor().decompressobj()
                if unpacked := frame.decompress(rest):
                    yield unpacked
                rest = b""
                if frame.eof:
                    rest, frame = frame.unused_data, None
    except zstandard.ZstdError as error:
        raise lzma.LZMAError(str(error)) from error
    if frame is not None:
        raise EOFError


@contextmanager
def packed_writer(path: Path) -> Iterator[BinaryIO]:
    """Open a file for writing, packed as its suffix says (.gz, .xz, .zst, else plain), with no time in it."""
    suffix = path.suffix.lower()
    with path.open("wb") as file:
        if suffix == ".gz":
            with gzip.GzipFile(filename="", mode="wb", fileobj=file, mtime=0, compresslevel=6) as packed:
                yield cast("BinaryIO", packed)
        elif suffix == ".xz":
            with lzma.LZMAFile(file, "wb", preset=6) as packed_xz:
                yield cast("BinaryIO", packed_xz)
        elif suffix == ".zst":
            zstandard = require("zstandard", "zstd")
            with zstandard.ZstdCompressor(level=3, write_checksum=True).stream_writer(file, closefd=False) as packed_zst:
                yield packed_zst
        else:
            yield file
