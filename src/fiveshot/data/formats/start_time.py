"""When a recording began: from its GUANO metadata, or from a name as recorders write it."""

from __future__ import annotations

import re
import struct
from datetime import datetime, timedelta
from pathlib import Path

# AudioMoth and Song Meter: YYYYMMDD_HHMMSS; the older AudioMoth: seconds since 1970 in hexadecimal.
_NAME = re.compile(r"(?<!\d)(\d{8})[_T-](\d{6})(?!\d)")
_AUDIOMOTH_HEX = re.compile(r"^[0-9A-F]{8}$")
_AUDIOMOTH_COMMENT = re.compile(r"Recorded at (\d\d:\d\d:\d\d) (\d\d/\d\d/\d{4}) \(UTC([+-]\d+(?::\d\d)?)?\)")
_LARGEST_CHUNK = 1 << 20


def start_time(path: Path) -> datetime | None:
    """When a recording began, as the recorder's clock said; None where neither header nor name tells.

    Args:
        path: of a wav (GUANO or AudioMoth's comment are read) or any other audio file.

    Returns:
        Local time of the recorder, with its offset from UTC where the header tells it.
    """
    return _guano_time(path) or name_time(path.stem)


def name_time(stem: str) -> datetime | None:
    """The time in the name of a file: YYYYMMDD_HHMMSS anywhere in it, or AudioMoth's eight hex digits."""
    match = _NAME.search(stem)
    if match:
        try:
            return datetime.strptime("".join(match.groups()), "%Y%m%d%H%M%S")
        except ValueError:
            return None
    if _AUDIOMOTH_HEX.match(stem):
        when = datetime(1970, 1, 1) + timedelta(seconds=int(stem, 16))
        return when if 2014 < when.year < 2050 else None
    return None


def _guano_time(path: Path) -> datetime | None:
    chunks = _text_chunks(path)
    for line in chunks.get(b"guan", "").splitlines():
        key, _, value = line.partition(":")
        if key.strip().lower() == "timestamp":
            try:
                # Python before 3.11 does not take the Z.
                return datetime.fromisoformat(value.strip().replace("Z", "+00:00"))
            except ValueError:
                return None
    match = _AUDIOMOTH_COMMENT.search(chunks.get(b"LIST", ""))
    if match is None:
        return None
    time, date, zone = match.groups()
    hours, _, minutes = (zone or "+0").partition(":")
    offset = f"{int(hours):+03d}{minutes or '00'}"
    try:
        return datetime.strptime(f"{date} {time} {offset}", "%d/%m/%Y %H:%M:%S %z")
    except ValueError:
        return None


def _text_chunks(path: Path) -> dict[bytes, str]:
    """The chunks of a RIFF file that hold text about the recording: name → text; empty for other files."""
    texts: dict[bytes, str] = {}
    try:
        with path.open("rb") as handle:
            magic, kind = struct.unpack("<4s4x4s", handle.read(12).ljust(12))
            if magic not in (b"RIFF", b"RF64") or kind != b"WAVE":
                return {}
            while len(head := handle.read(8)) == 8:
                name, size = struct.unpack("<4sI", head)
                end = handle.tell() + size + size % 2
                if name in (b"guan", b"LIST") and size <= _LARGEST_CHUNK:
                    texts[name] = handle.read(size).decode("utf-8", "replace")
                handle.seek(end)
    except OSError:
        return texts
    return texts
