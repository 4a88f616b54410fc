"""Tables on the screen."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence


def aligned(rows: Sequence[Sequence[str]], numbers: bool = False) -> list[str]:
    """Rows of cells as lines of equal columns.

    Args:
        numbers: the columns behind the first are numbers and end on one line, others begin on one.
    """
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = []
    for row in rows:
        padded = [
            cell.rjust(width) if numbers and column else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        lines.append("  ".join(padded).rstrip())
    return lines


def nearest(name: str, names: Iterable[str], cutoff: float = 0.0) -> str:
    """The name that is most like another one, without regard to case; empty where none is like it.

    Args:
        cutoff: least similarity, 0 to 1.
    """
    by_spelling = {one.casefold(): one for one in names}
    found = difflib.get_close_matches(name.casefold(), by_spelling, n=1, cutoff=cutoff)
    return by_spelling[found[0]] if found else ""
