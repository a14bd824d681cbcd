"""Which runs are ticked: the browser reports places, which over a slow line may still be those of the order before."""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace

LATE = 3
"""So many seconds after the rows have changed places, a tick may still be of the order before."""


@dataclass(frozen=True)
class Drawn:
    """The rows from top to bottom, the places of those that are ticked, the column that sorts them, and since when.

    still_there: whether the last tick was taken to be of these rows, though newer ones had been drawn.
    """

    names: tuple[str, ...]
    ticked: frozenset[int]
    columns: tuple[str, ...]
    at: float
    still_there: bool = False

    def at_places(self, places: Iterable[int]) -> list[str]:
        """The runs there."""
        return [self.names[place] for place in places if place < len(self.names)]


def remember(orders: Sequence[Drawn], new: Drawn) -> list[Drawn]:
    """What to remember of what was drawn, the newest first: `new`, and the rows as they stood before they moved."""
    if orders and orders[0].names == new.names:
        new = replace(new, at=orders[0].at)
    return [new, *[each for each in orders if each.names != new.names][:1]]


def meant(orders: Sequence[Drawn], places: Collection[int], now: float) -> tuple[Drawn, Sequence[Drawn]]:
    """The rows of which places were reported, and all rows that later reports may be of.

    Of those that have such places, and may be on the screen, it is those that have changed the least; of several, those
    of the last tick if they were still there, else the newest. Where only the newest have changed the least, the
    browser is taken to have them, and those before are forgotten.
    """
    newest, *before = orders
    on_screen = [newest, *(before if now - newest.at < LATE else [])]
    possible = [drawn for drawn in on_screen if max(places, default=-1) < len(drawn.names)] or [newest]
    changes = [len(drawn.ticked.symmetric_difference(places)) for drawn in possible]
    nearest = [drawn for drawn, count in zip(possible, changes, strict=True) if count == min(changes)]
    if nearest == [newest]:
        return newest, nearest
    return min(nearest, key=lambda drawn: not drawn.still_there), orders


def ticked(orders: Sequence[Drawn], reported: Drawn, runs: Collection[str]) -> list[Drawn]:
    """What to remember once these runs are ticked, as a report of the rows `reported` had it.

    A report that changes nothing is no tick: the browser also says by the way what is ticked, every few seconds.
    """
    found = []
    for each in orders:
        places = frozenset(place for place, name in enumerate(each.names) if name in runs)
        still_there = each is reported is not orders[0] and places != each.ticked
        found.append(replace(each, ticked=places, still_there=still_there))
    return found
