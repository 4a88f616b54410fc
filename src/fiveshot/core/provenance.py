"""What a stored file was computed from: whether it is still valid, and if not, what changed."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from fiveshot.core.renamed_keys import leaves, nested, translated

DIGEST_LENGTH = 64  # hexadecimal digits of a SHA-256


@dataclass(frozen=True)
class Provenance:
    """What a stored file was computed from.

    Attributes:
        values: settings by their full names, alone or in groups, digests of files, versions of methods; as
            JSON knows them.

    Example:
        >>> before = Provenance({"seed": 1, "train": {"batch": 50}})
        >>> before.differences(Provenance({"seed": 2, "train": {"batch_size": 50}}))
        ['seed was 1, is 2']
    """

    values: dict[str, Any]

    @classmethod
    def from_json(cls, text: str) -> Provenance:
        """Read what `to_json` wrote; ValueError where that is not a JSON object."""
        values = json.loads(text)
        if not isinstance(values, dict):
            raise ValueError("not an object")
        return cls(values)

    def to_json(self) -> str:
        """One line of JSON, the same for equal values."""
        return json.dumps(self.values, sort_keys=True)

    @property
    def digest(self) -> str:
        """The SHA-256 of the values, with the key names of their time: 64 hexadecimal digits."""
        return fingerprint(self.values)

    def differences(self, now: Provenance) -> list[str]:
        """What differs in another, such as 'train.epochs was 6, is 8', in the order of names.

        Keys of earlier versions are read as today's, so that renaming a key makes no file invalid.
        """
        return list(_differences(translated(self.values), nested(dict(leaves(now.values)))))

    def without(self, *names: str) -> Provenance:
        """The same less these values and groups, with today's keys."""
        values = {name: value for name, value in translated(self.values).items() if name not in names}
        return Provenance(values)


def fingerprint(value: object) -> str:
    """The SHA-256 of a JSON-able value: equal values, equal fingerprint."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def _differences(before: object, now: object, name: str = "") -> Iterator[str]:
    if isinstance(before, dict) and isinstance(now, dict):
        for key in sorted(before.keys() | now.keys(), key=str):
            yield from _differences(before.get(key), now.get(key), f"{name}.{key}" if name else str(key))
    elif before != now:
        if any(isinstance(value, str) and len(value) == DIGEST_LENGTH for value in (before, now)):
            yield f"{name} changed"  # digests tell people nothing
        else:
            yield f"{name} was {_shown(before)}, is {_shown(now)}"


def _shown(value: object) -> str:
    return "unset" if value is None else str(value)
