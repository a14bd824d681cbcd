"""Which runs are ticked: the browser reports places, which over a slow line may still be those of the order before."""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace

LATE = 3
"""So many seconds after the rows have changed places, a tick may still be of the order before."""


@dataclass(frozen=True)
class Drawn:
    """The rows from top to bottom, the places of those that are ticked, the column that sorts them, and since when."""

    names: tuple[str, ...]
    ticked: frozenset[int]
    columns: tuple[str, ...]
    at: float

    def at_places(self, places: Iterable[int]) -> list[str]:
        """The runs there."""
        return [self.names[place] for place in places if place < len(self.names)]

    def with_ticks(self, runs: Collection[str]) -> "Drawn":
        """The same rows once these runs are ticked."""
        return replace(self, ticked=frozenset(place for place, name in enumerate(self.names) if name in runs))


def remember(orders: Sequence[Drawn], new: Drawn) -> list[Drawn]:
    """What to remember of what was drawn, the newest first: `new`, and the rows as they stood before they moved."""
    if orders and orders[0].names == new.names:
        new = replace(new, at=orders[0].at)
    return [new, *[each for each in orders if each.names != new.names][:1]]


def meant(orders: Sequence[Drawn], places: Collection[int], now: float) -> Drawn:
    """The rows of which places were reported: of those that may be on the screen, which have changed the least."""
    newest, *before = orders
    possible = [newest, *(before if now - newest.at < LATE else [])]
    return min(possible, key=lambda drawn: len(drawn.ticked.symmetric_difference(places)))
