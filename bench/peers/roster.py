"""Which engines are compared, at which versions, and what is known to be wrong with their results."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, kw_only=True)
class Peer:
    """An engine on PyPI, pinned."""

    name: str
    """Row of the table and folder of the environment."""
    version: str
    adapter: str
    distribution: str = ""
    """Name on PyPI where it is not the row's."""
    least_python: tuple[int, int] = (3, 11)
    dependencies: bool = True
    """False where the engine's module works without what its distribution asks for."""
    known_difference: str = ""
    """Why its trades are not the expected ones, as far as it was found out."""

    @property
    def requirement(self) -> str:
        """What pip installs."""
        return f"{self.distribution or self.name}=={self.version}"


PEERS: Final = (
    Peer(name="limit-order-book", version="3.1.0", adapter="limit_order_book", least_python=(3, 13)),
    Peer(name="limit-order-book-2", version="2.0.0", adapter="limit_order_book", distribution="limit-order-book"),
    # The full installation brings a deep learning framework of several gigabytes, which the book does not import.
    Peer(name="lumina-lob", version="0.1.4", adapter="lumina_lob", dependencies=False),
    Peer(name="liquibook", version="2.0.1", adapter="liquibook"),
    Peer(
        name="litebook",
        version="0.0.1",
        adapter="litebook",
        known_difference="a selling taker trades at its own price instead of the maker's",
    ),
    Peer(name="orderly-chaos", version="0.2.0", adapter="orderly_chaos"),
    Peer(
        name="nanobook",
        version="0.19.2",
        adapter="nanobook",
        known_difference=(
            "once the first order of a level was filled, a cancelled order of that level stays in it, and submit_limit "
            "never returns when it meets that order"
        ),
    ),
    Peer(name="matching-engine", version="0.1.1", adapter="matching_engine", least_python=(3, 12)),
    Peer(name="lightmatchingengine", version="2019.1.4", adapter="lightmatchingengine"),
    Peer(name="pylobo", version="0.1.2", adapter="pylobo"),
)

OURS: Final = ("pyengine_arrays", "pyengine_call")
FLOOR: Final = "loop_alone"
