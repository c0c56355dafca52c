"""What the fuzzer feeds: bytes of commands, from valid streams to noise, and snapshots with something wrong in them.

Everything comes from the generator that is passed in, so the same seed gives the same bytes.
"""

from __future__ import annotations

import hashlib
import json
import re
import struct
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import numpy as np
from command_streams import MIXES, Mix, random_rows

from pyengine.records import COMMAND_DTYPE, Action, Flag, SelfTrade, TimeInForce

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray

Rng: TypeAlias = np.random.Generator
Octets: TypeAlias = "NDArray[np.uint8]"

ROW = COMMAND_DTYPE.itemsize
LARGEST = 2**62 - 1
BELOW_ZERO, ONE_PRICE = 3, 4
"""Books beside those of the streams: one with prices on both sides of zero, one with a single price."""
PRICE = 7

FIELDS = [(at, dtype.itemsize) for dtype, at, *_ in (COMMAND_DTYPE.fields or {}).values()]
_EDGES = (0, 1, 2, 3, 7, 8, 63, 64, 255, 2**16, 2**31 - 1, 2**31, 2**32 - 1, 2**32, 2**53, 2**61, 2**62 - 1)
_FAR_EDGES = (2**62, 2**62 + 1, 2**63 - 1, 2**63, 2**63 + 1, 2**64 - 100, 2**64 - 2, 2**64 - 1)
EXTREMES = np.array([*_EDGES, *_FAR_EDGES], "<u8")
"""Also as signed numbers: -1, the lowest and the highest."""

_SNAPSHOT_FRAME = struct.Struct("<8sII")
_DIGEST = 16


class Sizes(NamedTuple):
    """How many books and users the engine has that the commands are for."""

    books: int
    users: int


def octets_of(rows: NDArray[np.void]) -> Octets:
    """See rows as bytes, one line each, without copying."""
    return rows.view(np.uint8).reshape(len(rows), ROW)


def stream(rng: Rng, count: int, ids: int) -> NDArray[np.void]:
    """Draw a stream of mostly valid commands over all kinds of books."""
    rows = random_rows(rng, count, replace(MIXES[int(rng.integers(len(MIXES)))], ids=ids))
    priced = np.isin(rows["action"], (Action.LIMIT, Action.AMEND))
    moved = (rows["instrument"] == 0) & (rows["order_id"] % 5 == 0)
    rows["instrument"][moved] = BELOW_ZERO
    rows["price_ticks"][moved & priced] -= 100
    moved = (rows["instrument"] == 1) & (rows["order_id"] % 5 == 1)
    rows["instrument"][moved] = ONE_PRICE
    rows["price_ticks"][moved & priced] = PRICE
    return rows


def filling(rng: Rng, count: int, ids: int) -> NDArray[np.void]:
    """Draw commands that nearly all come to rest, in the books without tight limits."""
    mix = Mix("filling", limit=99, market=0.1, cancel=0.5, amend=0.4, mass=0, width=300, prevention=0, special=0)
    rows = random_rows(rng, count, replace(mix, ids=ids))
    rows["instrument"] %= 2
    return rows


def noise(rng: Rng, count: int, sizes: Sizes, tamed: float) -> NDArray[np.void]:
    """Draw random bytes; each field of a row is brought into its range with a probability, so that some rows go far."""
    rows = np.frombuffer(bytearray(rng.bytes(count * ROW)), COMMAND_DTYPE)

    def tame(name: str, values: Any) -> None:
        chosen = rng.random(count) < tamed
        rows[name][chosen] = np.broadcast_to(values, rows[name].shape)[chosen]

    near = rng.random(count) < 0.7
    tame("action", rng.integers(1, 8, count))
    tame("tif", rng.integers(0, len(TimeInForce), count))
    tame("flags", rng.choice([0, 0, Flag.POST_ONLY, Flag.POST_ONLY | Flag.SLIDE, Flag.ASSIGN_ID, 131], count))
    tame("stp", rng.integers(0, len(SelfTrade), count))
    tame("instrument", rng.integers(0, sizes.books, count))
    tame("order_id", rng.integers(0, 300, count))
    tame("price_ticks", np.where(near, rng.integers(-20, 130, count), rng.integers(-LARGEST, LARGEST, count)))
    tame("qty_lots", np.where(near, rng.integers(1, 100, count), rng.integers(1, LARGEST, count)))
    tame("user", rng.integers(0, sizes.users + 1, count))
    tame("side", rng.integers(1, 3, count))
    tame("reserved", 0)
    tame("aux1", 0)
    tame("aux2", 0)
    market = (rows["action"] == Action.MARKET) & (rng.random(count) < tamed)
    rows["price_ticks"][market] = 0
    return rows


def _flip_bits(rng: Rng, octets: Octets, chosen: NDArray[np.intp], _sizes: Sizes) -> None:
    """Turn one bit of each chosen row over."""
    octets[chosen, rng.integers(0, ROW, len(chosen))] ^= (1 << rng.integers(0, 8, len(chosen))).astype(np.uint8)


def _splice_fields(rng: Rng, octets: Octets, chosen: NDArray[np.intp], _sizes: Sizes) -> None:
    """Bring a field of another row into each chosen row."""
    donors = rng.integers(0, len(octets), len(chosen))
    fields = rng.integers(0, len(FIELDS), len(chosen))
    for number, (at, width) in enumerate(FIELDS):
        those = fields == number
        octets[chosen[those], at : at + width] = octets[donors[those], at : at + width]


def _splice_bytes(rng: Rng, octets: Octets, chosen: NDArray[np.intp], _sizes: Sizes) -> None:
    """Bring a run of bytes of another row, moved or not, to each chosen row."""
    for row in chosen[:50]:
        width = int(rng.integers(1, 17))
        at, source = rng.integers(0, ROW - width + 1, 2)
        octets[row, at : at + width] = octets[int(rng.integers(len(octets))), source : source + width]


def _extremes(rng: Rng, octets: Octets, chosen: NDArray[np.intp], _sizes: Sizes) -> None:
    """Put an extreme value into a field of each chosen row."""
    values = rng.choice(EXTREMES, len(chosen)).view(np.uint8).reshape(-1, 8)
    fields = rng.integers(0, len(FIELDS), len(chosen))
    for number, (at, width) in enumerate(FIELDS):
        those = fields == number
        octets[chosen[those], at : at + width] = values[those, :width]


def _strangers(rng: Rng, octets: Octets, chosen: NDArray[np.intp], sizes: Sizes) -> None:
    """Name users and instruments that are just, or far, beyond those that exist."""
    rows = octets.reshape(-1).view(COMMAND_DTYPE)
    half = len(chosen) // 2
    rows["user"][chosen[:half]] = sizes.users + rng.choice([0, 1, 2, 2**31, 2**32 - 1 - sizes.users], half)
    rest = chosen[half:]
    rows["instrument"][rest] = sizes.books + rng.choice([-1, 0, 1, 2**31, 2**32 - 1 - sizes.books], len(rest))


def _reserved(rng: Rng, octets: Octets, chosen: NDArray[np.intp], _sizes: Sizes) -> None:
    """Set a reserved byte of each chosen row."""
    octets[chosen, rng.choice([45, 46, 47, *range(48, ROW)], len(chosen))] = rng.integers(1, 256, len(chosen))


def _neighbours(rng: Rng, octets: Octets, chosen: NDArray[np.intp], _sizes: Sizes) -> None:
    """Move a number of each chosen row one up or down."""
    rows = octets.reshape(-1).view(COMMAND_DTYPE)
    for name in ("price_ticks", "qty_lots", "order_id"):
        picked = chosen[rng.random(len(chosen)) < 0.4]
        rows[name][picked] += rng.choice([-1, 1], len(picked)).astype(rows[name].dtype)


def _heavy(rng: Rng, octets: Octets, chosen: NDArray[np.intp], _sizes: Sizes) -> None:
    """Make sizes so large that few of them fill a level, at prices that let them be."""
    rows = octets.reshape(-1).view(COMMAND_DTYPE)
    rows["price_ticks"][chosen] = rng.choice([-2, -1, 1, 1, 1, 2], len(chosen))
    rows["qty_lots"][chosen] = rng.choice([LARGEST, LARGEST - 1, 2**61, 2**61 + 1], len(chosen))
    rows["action"][chosen] = rng.choice([Action.LIMIT, Action.LIMIT, Action.AMEND], len(chosen))


def _repeat(rng: Rng, octets: Octets, chosen: NDArray[np.intp], _sizes: Sizes) -> None:
    """Replace each chosen row by another one."""
    octets[chosen] = octets[rng.integers(0, len(octets), len(chosen))]


MUTATIONS: tuple[Callable[[Rng, Octets, NDArray[np.intp], Sizes], None], ...] = (
    _flip_bits,
    _splice_fields,
    _splice_bytes,
    _extremes,
    _strangers,
    _reserved,
    _neighbours,
    _heavy,
    _repeat,
)


def mutate(rng: Rng, rows: NDArray[np.void], share: float, sizes: Sizes) -> None:
    """Damage a share of the rows in place, by a few of the ways above."""
    octets = octets_of(rows)
    for mutation in rng.choice(np.arange(len(MUTATIONS)), int(rng.integers(1, 4)), replace=False):
        chosen = np.flatnonzero(rng.random(len(rows)) < share)
        if len(chosen):
            MUTATIONS[mutation](rng, octets, chosen, sizes)


def commands(rng: Rng, count: int, ids: int, sizes: Sizes) -> NDArray[np.void]:
    """Draw commands of any sort: a valid stream, a damaged one, or noise."""
    sort = rng.random()
    if sort < 0.1:
        return noise(rng, count, sizes, float(rng.choice([0.0, 0.5, 0.9, 0.97, 1.0])))
    rows = stream(rng, count, ids)
    if sort < 0.85:
        mutate(rng, rows, float(rng.choice([0.002, 0.02, 0.2, 1.0], p=[0.35, 0.35, 0.2, 0.1])), sizes)
    return rows


def _numbers(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """List the paths of everything that is in a header."""
    yield path
    if isinstance(value, (dict, list)):
        for key, inner in value.items() if isinstance(value, dict) else enumerate(value):
            yield from _numbers(inner, (*path, key))


def _damaged_header(rng: Rng, text: bytes) -> bytes:
    """Replace one thing in a header, or its bytes, by something that doesn't belong there."""
    if rng.random() < 0.15:
        octets = bytearray(text)
        octets[int(rng.integers(len(octets)))] = int(rng.integers(256))
        return bytes(octets)
    header = json.loads(text)
    paths = list(_numbers(header))
    *path, last = paths[int(rng.integers(1, len(paths)))]
    holder = header
    for key in path:
        holder = holder[key]
    number = int(rng.choice(EXTREMES))
    junk = [number, -number, number - 2**64, str(number), "", None, [], {}, 1.5, True, [[]], float("inf"), float("nan")]
    holder[last] = junk[int(rng.integers(len(junk)))]
    return json.dumps(header, separators=(",", ":"), sort_keys=True).encode()


def damaged_snapshot(rng: Rng, data: bytes) -> bytes:
    """Damage a snapshot; most often its digest is made to fit, so that what is inside has to be looked at."""
    magic, version, header_bytes = _SNAPSHOT_FRAME.unpack_from(data)
    start = _SNAPSHOT_FRAME.size
    text, arrays = data[start : start + header_bytes], bytearray(data[start + header_bytes : -_DIGEST])
    sort = rng.random()
    if sort < 0.1:
        return data[: int(rng.integers(len(data)))]
    if sort < 0.2:
        octets = bytearray(data)
        octets[int(rng.integers(len(octets)))] ^= 1 << int(rng.integers(8))
        return bytes(octets)
    if sort < 0.55:
        text = _damaged_header(rng, text)
    elif sort < 0.6:
        header_bytes = int(rng.choice(EXTREMES)) % 2**32
    elif len(arrays) >= 8:
        width = int(rng.choice([1, 4, 8]))
        at = int(rng.integers(len(arrays) // width)) * width
        if rng.random() < 0.5:
            arrays[at : at + width] = int(rng.choice(EXTREMES)).to_bytes(8, "little")[:width]
        else:
            source = int(rng.integers(len(arrays) // width)) * width
            arrays[at : at + width] = arrays[source : source + width]
    if sort < 0.55:
        header_bytes = len(text)
    return _sealed(_SNAPSHOT_FRAME.pack(magic, version, header_bytes) + text + bytes(arrays))


def _sealed(body: bytes) -> bytes:
    """Add the digest that belongs to a snapshot's bytes."""
    return body + hashlib.blake2b(body, digest_size=_DIGEST).digest()


def with_state_hash(data: bytes, complaint: str) -> bytes | None:
    """Give a snapshot the state hash that it was refused for not having; None if that wasn't the complaint."""
    found = re.search(r"state hash must be (\d+), was (\d+)", complaint)
    if found is None:
        return None
    magic, version, header_bytes = _SNAPSHOT_FRAME.unpack_from(data)
    start = _SNAPSHOT_FRAME.size
    text = data[start : start + header_bytes].replace(found[1].encode(), found[2].encode())
    return _sealed(_SNAPSHOT_FRAME.pack(magic, version, len(text)) + text + data[start + header_bytes : -_DIGEST])
