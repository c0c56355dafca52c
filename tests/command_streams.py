"""Streams of commands: Hypothesis strategies for short nasty ones, NumPy for long seeded ones.

Both live in the same small world, so that collisions are the rule: few ids, so that duplicates, reuse and cancels of
live and of dead orders occur; few users; one book with clustered prices, one with the two ends of the price domain, and
one with tight limits.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from hypothesis import strategies as st
from reference_records import LARGEST, Command, Limits

from pyengine.records import COMMAND_DTYPE, EVERY_INSTRUMENT, Action, Flag, SelfTrade, Side, TimeInForce

if TYPE_CHECKING:
    from numpy.typing import NDArray

WORLD = (Limits(), Limits(), Limits(min_price=90, max_price=110, min_qty=2, max_qty=500))
USERS = 3
FARAWAY = (1, 2, 3, 63, 64, 4095, 4096, 2**31, 2**32, 2**61, 2**61 + 1, LARGEST - 1, LARGEST)
HUGE = (2**31, 2**61, LARGEST)
JUNK = (0, 1, 2, 3, 6, 7, 8, 64, 128, 255)
RESERVED = slice(45, 48)
NAMED = tuple(name for name in Command._fields if name != "reserved")

# Short streams

Commands = st.SearchStrategy[Command]
modes = st.sampled_from(list(SelfTrade))
sides = st.sampled_from(list(Side))
order_ids = st.sampled_from((*range(1, 9), *range(1, 9), *range(1, 9), 0, 2**32, 2**63, 2**64 - 1))
prices = st.sampled_from((*range(95, 106), *range(97, 104), *range(99, 102), *FARAWAY))
lots = st.sampled_from((*range(1, 11), *range(1, 11), *range(1, 11), *HUGE))
times = st.integers(-(2**63), 2**63 - 1)
about: dict[str, st.SearchStrategy[Any]] = {"order_id": order_ids, "ts_ns": times, "strays": st.integers(0, 99)}


def command(action: int, strays: int, **fields: int) -> Command:
    """Make a command; what isn't drawn is 0. Most commands about an id agree on its book and its owner."""
    order_id = fields["order_id"]
    home, owner = (0, 0, 0, 1, 1, 2)[order_id % 6], order_id % (USERS + 1)
    if strays >= 92:
        home = strays % len(WORLD)
    elif strays >= 84:
        owner = strays % (USERS + 1)
    return Command(action, **({"instrument": home, "user": owner} | fields))


def limit_orders() -> Commands:
    """Draw limit orders of all kinds; post-only ones among them wait, as they must."""
    flags = st.sampled_from([Flag.NONE, Flag.NONE, Flag.NONE, Flag.ASSIGN_ID])
    shared: dict[str, Any] = {**about, "side": sides, "price_ticks": prices, "qty_lots": lots, "stp": modes}
    post, slide = Flag.POST_ONLY, Flag.POST_ONLY | Flag.SLIDE
    waiting = st.sampled_from([post, slide, post | Flag.ASSIGN_ID, slide | Flag.ASSIGN_ID])
    filling = {"price_ticks": st.sampled_from([1, 2]), "qty_lots": st.sampled_from([LARGEST, LARGEST, 2**61, 1])}
    full = {"instrument": st.just(1), "side": st.just(Side.BUY)}
    return st.one_of(
        st.builds(command, st.just(Action.LIMIT), flags=flags, **shared),
        st.builds(command, st.just(Action.LIMIT), flags=flags, **shared),
        st.builds(command, st.just(Action.LIMIT), tif=st.sampled_from(list(TimeInForce)), flags=flags, **shared),
        st.builds(command, st.just(Action.LIMIT), flags=waiting, **shared),
        st.builds(command, st.just(Action.LIMIT), **about, **filling, **full),
    )


def market_orders() -> Commands:
    """Draw market orders, also fill-or-kill ones."""
    tifs, flags = st.sampled_from(list(TimeInForce)), st.sampled_from([Flag.NONE, Flag.ASSIGN_ID])
    own: dict[str, Any] = {"side": sides, "qty_lots": lots, "stp": modes, "tif": tifs, "flags": flags}
    return st.builds(command, st.just(Action.MARKET), **about, **own)


def requests() -> Commands:
    """Draw cancels and amends, half of them by nobody in particular, who may touch any order."""
    changes: dict[str, Any] = {"price_ticks": prices, "qty_lots": lots, "stp": modes}
    flags = st.sampled_from([Flag.NONE, Flag.NONE, Flag.NONE, Flag.POST_ONLY])
    return st.one_of(
        st.builds(command, st.just(Action.CANCEL), **about),
        st.builds(command, st.just(Action.CANCEL), user=st.just(0), **about),
        st.builds(command, st.just(Action.AMEND), flags=flags, **about, **changes),
        st.builds(command, st.just(Action.AMEND), flags=flags, user=st.just(0), **about, **changes),
        st.builds(command, st.just(Action.AMEND), user=st.just(0), **about, **changes),
    )


def mass_cancels() -> Commands:
    """Draw mass cancels of every scope."""
    places, users = st.sampled_from([0, 1, 2, EVERY_INSTRUMENT]), st.integers(0, USERS)
    scope = {"instrument": places, "side": st.sampled_from([0, 1, 2]), "user": users}
    return st.builds(command, st.just(Action.MASS_CANCEL), **about, **scope)


def with_junk(good: Command, name: str, junk: int) -> Command:
    """Overwrite one field of a command with whatever fits its bytes."""
    if name == "reserved":
        return good._replace(reserved=junk & 0xFFFFFF)
    kind = np.iinfo(COMMAND_DTYPE[name])
    value = junk & (2**kind.bits - 1)
    return good._replace(**{name: value - 2**kind.bits if value > kind.max else value})


def malformed() -> Commands:
    """Draw commands with something in a field that is most likely wrong there."""
    junk = st.one_of(st.sampled_from(JUNK), st.integers(0, 2**64 - 1), st.sampled_from([-1, 2**62, 2**63, 2**63 - 1]))
    good = st.one_of(limit_orders(), market_orders(), requests(), mass_cancels())
    return st.builds(with_junk, good, st.sampled_from(Command._fields), junk)


def commands() -> Commands:
    """Draw any command; about half are limit orders."""
    return st.one_of(
        limit_orders(),
        limit_orders(),
        limit_orders(),
        market_orders(),
        requests(),
        requests(),
        mass_cancels(),
        malformed(),
    )


def streams(size: int = 50) -> st.SearchStrategy[list[Command]]:
    """Draw a list of commands, short, or about `size` long; left alone, Hypothesis draws short ones only."""
    return st.one_of(st.lists(commands(), min_size=1, max_size=8), st.lists(commands(), min_size=size // 2, max_size=size))


def rows_of(stream: list[Command]) -> NDArray[np.void]:
    """Write commands as rows of `COMMAND_DTYPE`, reserved bytes included."""
    rows = np.zeros(len(stream), COMMAND_DTYPE)
    octets = rows.view(np.uint8).reshape(len(stream), COMMAND_DTYPE.itemsize)
    for name in NAMED:
        rows[name] = [getattr(each, name) for each in stream]
    for i, each in enumerate(stream):
        octets[i, RESERVED] = list(each.reserved.to_bytes(3, "little"))
    return rows


def commands_of(rows: NDArray[np.void]) -> list[Command]:
    """Read rows of `COMMAND_DTYPE` as commands."""
    octets = np.ascontiguousarray(rows).view(np.uint8).reshape(len(rows), COMMAND_DTYPE.itemsize)[:, RESERVED]
    columns = {name: rows[name].tolist() for name in NAMED}
    columns["reserved"] = [int.from_bytes(bytes(three), "little") for three in octets]
    return [Command(**dict(zip(columns, values, strict=True))) for values in zip(*columns.values(), strict=True)]


# Long streams


@dataclass(frozen=True)
class Mix:
    """What a long stream consists of. The shares are weights; `ids` bounds how many orders can rest."""

    name: str
    limit: float = 50
    market: float = 3
    cancel: float = 30
    amend: float = 10
    mass: float = 0.02
    ids: int = 600
    width: int = 25
    faraway: float = 0.01
    prevention: float = 0.2
    special: float = 0.15
    broken: float = 0.02


MIXES = (
    Mix("balanced"),
    Mix("passive", limit=60, market=0.5, cancel=35, amend=4, ids=1500, width=200, special=0.05),
    Mix("crossing", limit=70, market=10, cancel=5, amend=15, ids=300, width=3, prevention=0.5),
    Mix("amending", limit=30, cancel=10, amend=55, ids=200, width=8, special=0.3),
    Mix("scattered", ids=400, width=5, faraway=0.6, broken=0.1),
)


def random_rows(rng: np.random.Generator, count: int, mix: Mix) -> NDArray[np.void]:
    """Draw `count` commands of a mix. Most requests name the right book and owner of the order they are about."""
    rows = np.zeros(count, COMMAND_DTYPE)
    weights = np.array([mix.market, mix.limit, mix.cancel, mix.amend, mix.mass])
    actions = [Action.MARKET, Action.LIMIT, Action.CANCEL, Action.AMEND, Action.MASS_CANCEL]
    rows["action"] = rng.choice(actions, count, p=weights / weights.sum())
    rows["order_id"] = rng.integers(1, mix.ids + 1, count)
    rows["instrument"] = mostly(rng, rows["order_id"] % 7 % len(WORLD), rng.integers(0, len(WORLD), count), 0.03)
    rows["user"] = mostly(rng, rows["order_id"] % (USERS + 1), rng.integers(0, USERS + 1, count), 0.1)
    rows["side"] = mostly(rng, rows["order_id"] // 5 % 2 + 1, rng.integers(1, 3, count), 0.1)
    rows["ts_ns"] = np.arange(count)
    centre = 100 + np.cumsum(rng.choice([-1, 0, 1], count, p=[0.002, 0.996, 0.002])) % 7
    # Most orders stand a little off the centre on their own side; the tail of the bell crosses.
    away = np.rint(rng.normal(mix.width / 3, mix.width / 2, count)).astype(np.int64)
    near = np.maximum(1, centre + np.where(rows["side"] == Side.BUY, -away, away))
    rows["price_ticks"] = mostly(rng, near, rng.choice(FARAWAY, count), mix.faraway)
    rows["qty_lots"] = mostly(rng, rng.integers(1, 30, count), rng.choice(HUGE, count), mix.faraway / 10)
    rows["stp"] = mostly(rng, np.zeros(count), rng.integers(0, len(SelfTrade), count), mix.prevention)
    limit, amend, market = (rows["action"] == each for each in (Action.LIMIT, Action.AMEND, Action.MARKET))
    rows["tif"] = np.where(limit, mostly(rng, np.zeros(count), rng.integers(0, 3, count), mix.special), 0)
    waits = limit & (rows["tif"] == TimeInForce.GTC)
    extra = mostly(rng, np.zeros(count), rng.choice([1, 3, 128, 131], count), mix.special)
    rows["flags"] = np.where(waits, extra, np.where(amend, extra.astype(np.uint8) & Flag.POST_ONLY, 0))
    rows["price_ticks"][market] = 0
    wide = (rows["action"] == Action.MASS_CANCEL) & (rng.random(count) < 0.3)
    rows["instrument"][wide] = EVERY_INSTRUMENT
    break_some(rng, rows, mix.broken)
    return rows


def mostly(rng: np.random.Generator, usual: NDArray[Any], unusual: NDArray[Any], share_unusual: float) -> NDArray[Any]:
    """Take the usual value in most rows."""
    return np.where(rng.random(len(usual)) < share_unusual, unusual, usual)


def break_some(rng: np.random.Generator, rows: NDArray[np.void], share: float) -> None:
    """Overwrite one random byte in some rows; most of these become invalid, by every reason there is."""
    octets = rows.view(np.uint8).reshape(len(rows), COMMAND_DTYPE.itemsize)
    chosen = np.flatnonzero(rng.random(len(rows)) < share)
    where = rng.choice([0, 1, 2, 3, 4, 7, 16, 22, 23, 24, 30, 31, 40, 43, 44, 45, 46, 47, 48, 63], len(chosen))
    octets[chosen, where] = rng.choice(JUNK, len(chosen))
