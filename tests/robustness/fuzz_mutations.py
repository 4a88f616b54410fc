"""What damage, accidents and malice do to a file: bytes for every format, and the structure of text formats.

Each mutation takes a source of random numbers, the content of a file and that of others of its format, and
gives the changed content.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from random import Random

import fuzz_words
from fuzz_words import CELLS

Mutation = Callable[[Random, bytes, Sequence[bytes]], bytes]

LONGEST = 200_000  # bytes of a mutant: damage does not make files larger than the time for it allows
LENGTHS = (1, 1, 2, 4, 8, 16, 64, 256, 1024)
INTEGERS = (0, 1, 2, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 2**63, -1)
ENCODINGS = ("utf-16", "utf-16-le", "utf-32", "utf-8-sig", "utf-7", "cp500")


def place(rng: Random, size: int) -> int:
    """A position, every other time near the beginning, where headers lie."""
    near = rng.random() < 0.5
    return max(0, int(size ** rng.random()) - 1) if near else int(size * rng.random())


def _span(rng: Random, size: int) -> tuple[int, int]:
    first = place(rng, size)
    return first, min(size, first + rng.choice(LENGTHS))


def flip_bits(rng: Random, content: bytes, others: Sequence[bytes]) -> bytes:
    """One to eight bits turned over."""
    changed = bytearray(content)
    for _ in range(rng.choice((1, 1, 1, 2, 4, 8))):
        changed[place(rng, len(changed))] ^= 1 << rng.randrange(8)
    return bytes(changed)


def replace_run(rng: Random, content: bytes, others: Sequence[bytes]) -> bytes:
    """A run of bytes replaced by zeros, ones or noise."""
    first, end = _span(rng, len(content))
    run = rng.choice((b"\0", b"\xff", b" ", b"")) * (end - first) or rng.randbytes(end - first)
    return content[:first] + run + content[end:]


def replace_integer(rng: Random, content: bytes, others: Sequence[bytes]) -> bytes:
    """A field of 1, 2, 4 or 8 bytes replaced by a number at the edge of its range."""
    width = rng.choice((1, 2, 4, 8))
    first = place(rng, len(content))
    number = rng.choice(INTEGERS) & ((1 << 8 * width) - 1)
    return content[:first] + number.to_bytes(width, rng.choice(("little", "big"))) + content[first + width :]


def truncate(rng: Random, content: bytes, others: Sequence[bytes]) -> bytes:
    """The end cut off; now and then only the last bytes."""
    return content[: -rng.choice(LENGTHS)] if rng.random() < 0.3 else content[: place(rng, len(content)) + 1]


def repeat_block(rng: Random, content: bytes, others: Sequence[bytes]) -> bytes:
    """A block that comes several times."""
    first, end = _span(rng, len(content))
    return content[:end] + content[first:end] * rng.choice((1, 1, 2, 20)) + content[end:]


def delete_block(rng: Random, content: bytes, others: Sequence[bytes]) -> bytes:
    """A block that is missing."""
    first, end = _span(rng, len(content))
    return content[:first] + content[end:]


def insert_noise(rng: Random, content: bytes, others: Sequence[bytes]) -> bytes:
    """Random bytes in between."""
    first = place(rng, len(content))
    return content[:first] + rng.randbytes(rng.choice(LENGTHS)) + content[first:]


def splice(rng: Random, content: bytes, others: Sequence[bytes]) -> bytes:
    """The beginning of this file and the end of another, now and then at the same place."""
    other, first = rng.choice(others), place(rng, len(content))
    return content[:first] + other[first if rng.random() < 0.5 else place(rng, len(other)) :]


BYTES: tuple[Mutation, ...] = (
    *(flip_bits, flip_bits, replace_run, replace_integer, truncate, repeat_block, delete_block),
    *(insert_noise, splice),
)


def mutate_bytes(rng: Random, content: bytes, others: Sequence[bytes]) -> bytes:
    """One to three mutations of bytes, one after the other."""
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        content = rng.choice(BYTES)(rng, content, others) or b"\0"
    return content[:LONGEST]


def mutate_csv(rng: Random, content: bytes, others: Sequence[bytes]) -> bytes:
    """Cells, rows, columns, delimiters, quotes and encodings of a table."""
    rows = [line.split(",") for line in content.decode("utf-8", "replace").splitlines()]
    row = rng.choice(rows)
    kind = rng.randrange(12)
    if kind < 5:
        row[rng.randrange(len(row))] = rng.choice(CELLS)
    elif kind == 5:
        at = rng.randrange(len(row))
        row[at] = rng.choice((row[at][:-1], f'"{row[at]}', f'{row[at]}"', f" {row[at]} ", row[at] * 2))
    elif kind == 6:
        del row[rng.randrange(len(row))]
    elif kind == 7:
        row.insert(rng.randrange(len(row) + 1), rng.choice((*CELLS, *row)))
    elif kind == 8:
        rows.insert(rng.randrange(len(rows) + 1), list(rng.choice(rows)))
    elif kind == 9:
        at, word = rng.randrange(max(map(len, rows))), rng.choice(CELLS)
        rows = [[word if i == at else cell for i, cell in enumerate(cells)] for cells in rows]
    elif kind == 10:
        rng.shuffle(rows)
    delimiter, end = (
        (",", "\n") if kind < 11 else (rng.choice(",;\t|"), rng.choice(("\n", "\r\n", "\r", "\n\n")))
    )
    return _encoded(rng, end.join(delimiter.join(cells) for cells in rows) + end)


def mutate_yaml(rng: Random, content: bytes, others: Sequence[bytes]) -> bytes:
    """Values, keys, lines and indentation of settings; tags, anchors and bombs."""
    lines = content.decode("utf-8", "replace").splitlines()
    at = rng.randrange(len(lines))
    key, colon, value = lines[at].partition(":")
    words = rng.choice(fuzz_words.YAML)
    kind = rng.randrange(10)
    if kind < 5:
        lines[at] = f"{key}{colon} {rng.choice(words)}"
    elif kind == 5:
        lines[at] = f"{rng.choice(words)}{colon}{value}"
    elif kind == 6:
        lines[at] = rng.choice((" ", "  ", "\t", "- ", "? ", "! ")) + lines[at]
    elif kind == 7:
        lines[at] = lines[at].strip()
    elif kind == 8:
        lines.insert(at, rng.choice((*lines, *words)))
    else:
        del lines[at]
    return _encoded(rng, "\n".join(lines) + "\n")


def mutate_json(rng: Random, content: bytes, others: Sequence[bytes]) -> bytes:
    """One value, key or member of a JSON document."""
    mark = "\x00here\x00"
    try:
        values = json.loads(content)
    except (ValueError, RecursionError):  # an earlier mutation has left no JSON
        return mutate_bytes(rng, content, others)
    holder, key = _inside(rng, values)
    kind = rng.randrange(8)
    if isinstance(holder, dict) and kind == 0:
        holder[rng.choice(("", "a", str(key) + " ", str(key).upper()))] = holder.pop(key)
    elif kind == 1:
        del holder[key]
    elif isinstance(holder[key], float) and kind == 2:
        holder[key] *= 1 + rng.choice((1e-3, 1e-7, 1e-12, -1))
    else:
        holder[key] = mark
    word = rng.choice(fuzz_words.JSON)
    return _encoded(rng, json.dumps(values, indent=rng.choice((None, 2))).replace(json.dumps(mark), word))


def _inside(rng: Random, values: dict) -> tuple[dict | list, str | int]:
    """A member somewhere inside a document: what holds it, and its key or place there."""
    holder, key = values, rng.choice(list(values))
    while isinstance(holder[key], dict | list) and holder[key] and rng.random() < 0.8:
        holder = holder[key]
        key = rng.choice(list(holder)) if isinstance(holder, dict) else rng.randrange(len(holder))
    return holder, key


def _encoded(rng: Random, text: str) -> bytes:
    if rng.random() < 0.95:
        return text.encode("utf-8", "surrogatepass")[:LONGEST]
    return text.encode(rng.choice(ENCODINGS), "replace")[:LONGEST]


def with_structure(structural: Mutation) -> Mutation:
    """Mutations of a text format: its structure, its bytes, or one after the other."""

    def mutate(rng: Random, content: bytes, others: Sequence[bytes]) -> bytes:
        steps = rng.choice(((structural,), (structural,), (structural, structural), (mutate_bytes,)))
        steps += (mutate_bytes,) if rng.random() < 0.1 else ()
        for step in steps:
            content = step(rng, content, others) or b"\0"
        return content

    return mutate
