"""What a composite says about a write, and about the completeness of a list."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TypeVar

Item = TypeVar("Item")


@dataclass(frozen=True, slots=True)
class Receipt:
    """How far a write has got, layer by layer, at the moment it was asked for. True when it was accepted.

    Attributes
    ----------
    stored : int
        How many records were accepted; those older than what memory has are not.
    first, position : int
        Positions of the first and the last record in the order of all writes to the composite.
    durable : tuple of str
        Layers that have taken all of it, as safely as they can.
    pending : tuple of str
        Layers that have yet to take some of it.
    refused : dict of str to Exception
        Layers that will never have all of it, because they refused some (the first error is given), or were out of reach for
        longer than the ring remembers.
    """

    stored: int
    first: int
    position: int
    durable: tuple[str, ...] = ()
    pending: tuple[str, ...] = ()
    refused: dict[str, Exception] = field(default_factory=dict)

    def __bool__(self) -> bool:
        """Whether anything was accepted."""
        return self.stored > 0


class Answer(list[Item]):
    """A list of a composite, which says where it comes from and whether that is all there is.

    Attributes
    ----------
    layer : str
        Name of the layer that answered.
    complete : bool
        False when no layer that could be asked has everything; more may exist then.
    """

    __slots__ = ("complete", "layer")

    def __init__(self, items: Iterable[Item] = (), layer: str = "", *, complete: bool = True) -> None:
        super().__init__(items)
        self.layer = layer
        self.complete = complete
