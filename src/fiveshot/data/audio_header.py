"""What the header of an audio file says, where the file says something else.

A recorder that dies leaves a length of 0 or 44 bytes, a copy that is cut off a length that is too long, a
stream none at all. libsndfile believes headers; here the few bytes that are wrong are replaced while it
reads.
"""

from __future__ import annotations

import io
import os
import re
import shlex
import struct
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

# Writers that cannot seek back leave a placeholder near 2^31 or 2^32 as the size of the data.
UNKNOWN_SIZE = 0x7FFF0000
# Some recorders round the size of the data up to a sector; less than that is no loss of recording.
SECTOR_BYTES = 512
FLAC_TOTAL_BITS = 36
TAIL_BYTES = 1 << 17  # in which the last frame of a FLAC begins
# Containers that libsndfile does not read: where their mark stands, the mark, a name.
FOREIGN = (
    *((4, b"ftyp", "MPEG-4 audio (m4a, mp4)"), (0, b"\x30\x26\xb2\x75", "Windows Media audio (wma)")),
    *(
        (0, b"\x1a\x45\xdf\xa3", "Matroska or WebM audio"),
        (0, b"wvpk", "WavPack audio"),
        (0, b"TTA1", "TTA audio"),
    ),
    *((0, b"MAC ", "Monkey's Audio (ape)"), (0, b"#!AMR", "AMR audio"), (0, b"\xff\xf1", "AAC audio")),
    *((0, b"\xff\xf9", "AAC audio"), (0, b"\x0b\x77", "AC-3 audio"), (0, b"DSD ", "DSD audio")),
    *((8, b"AVI ", "a video (avi)"), (0, b"FLV", "a video (flv)"), (0, b"wac ", "Wildlife Acoustics' wac")),
)
FOREIGN_SUFFIXES = frozenset(
    [
        *(
            ".m4a",
            ".m4b",
            ".mp4",
            ".aac",
            ".wma",
            ".webm",
            ".mka",
            ".mkv",
            ".mov",
            ".amr",
            ".3gp",
            ".ape",
            ".wv",
        ),
        *(".ac3", ".dsf", ".tta", ".wac", ".avi"),
    ]
)


@dataclass(frozen=True)
class Header:
    """Corrections of a header.

    Attributes:
        patches: position in the file → bytes to read in place of those that are there.
        stated_bytes: bytes of samples that the header states; None where that fits what is there.
        stated_frames: samples per channel that the header states; None where that fits, or is not known.
        byte_rate: of the samples, in bytes per second.
        mpeg: the content is that of an MP3, whose decoder prints on the screen.
    """

    patches: dict[int, bytes] = field(default_factory=dict)
    stated_bytes: int | None = None
    stated_frames: int | None = None
    byte_rate: float = 0.0
    mpeg: bool = False


class Patched(io.RawIOBase):
    """A file in which some bytes are other ones, to read."""

    def __init__(self, path: Path, patches: dict[int, bytes]) -> None:
        self._file = path.open("rb")
        self._patches = patches

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._file.tell()

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        return self._file.seek(offset, whence)

    def readinto(self, buffer: Any) -> int:
        """Fill the buffer from the file, with the patches laid over it."""
        start = self._file.tell()
        count = self._file.readinto(buffer)
        view = memoryview(buffer)
        for at, data in self._patches.items():
            first, end = max(at, start), min(at + len(data), start + count)
            if first < end:
                view[first - start : end - start] = data[first - at : end - at]
        return count

    def close(self) -> None:
        self._file.close()
        super().close()


def read_header(path: Path) -> Header:
    """How the header of a file has to be corrected; nothing where it fits, or of no container known here.

    Raises:
        OSError: it cannot be read.
    """
    with path.open("rb") as handle:
        start = handle.read(12)
        if start[:4] in (b"RIFF", b"RF64") and start[8:] == b"WAVE":
            return _wav(handle)
        if start[:4] == b"fLaC":
            return _flac(handle)
        if start[:4] == b"caff":
            return _caf(handle)
    return Header(mpeg=start[:3] == b"ID3" or (start[:1] == b"\xff" and start[1:2] >= b"\xe0"))


def _file_size(handle: BinaryIO) -> int:
    return os.fstat(handle.fileno()).st_size


def _wav(handle: BinaryIO) -> Header:
    """Where the data chunk ends early or late; handle: behind `RIFF....WAVE`."""
    file_size, long_size, long_at, byte_rate = _file_size(handle), 0, 0, 0
    while len(head := handle.read(8)) == 8:
        name, size = struct.unpack("<4sI", head)
        at = handle.tell()
        if name == b"ds64":  # the sizes of file and data, where 32 bits are too few
            long_at = at + 8
            _, long_size = struct.unpack("<QQ", handle.read(16).ljust(16, b"\0"))
        elif name == b"fmt ":
            (byte_rate,) = struct.unpack("<8xI", handle.read(12).ljust(12, b"\0"))
        elif name == b"data":
            placeholder = size >= UNKNOWN_SIZE
            if placeholder and not long_at:
                return Header()  # libsndfile reads to the end
            stated, there = long_size if placeholder else size, file_size - at
            if stated > there + SECTOR_BYTES:
                return Header(stated_bytes=stated, byte_rate=byte_rate)
            if stated + SECTOR_BYTES >= there or _chunks_follow(handle, at + stated, file_size):
                return Header()
            patch = {long_at: struct.pack("<Q", there)} if placeholder else {}
            patch = patch or {at - 4: struct.pack("<I", there if there < UNKNOWN_SIZE else 0xFFFFFFFF)}
            return Header(patch, stated_bytes=stated, byte_rate=byte_rate)
        handle.seek(at + size + size % 2)
    return Header()


def _chunks_follow(handle: BinaryIO, at: int, file_size: int) -> bool:
    """Is what lies behind the samples a list of chunks up to the end of the file, or padding with zeros?"""
    handle.seek(at)
    if not handle.read(1 << 16).strip(b"\0"):
        return True
    for start in (at, at + at % 2):
        place = start
        while place + 8 <= file_size:
            handle.seek(place)
            name, size = struct.unpack("<4sI", handle.read(8))
            if not re.fullmatch(rb"[A-Za-z0-9_ \-]{4}", name):
                break
            place += 8 + size + size % 2
        if place >= file_size - 8 and place <= file_size + SECTOR_BYTES and place > start:
            return True
    return False


def _caf(handle: BinaryIO) -> Header:
    """A data chunk that ends behind the file; libsndfile refuses these."""
    file_size, place, byte_rate = _file_size(handle), 8, 0.0
    while place + 12 <= file_size:
        handle.seek(place)
        name, size = struct.unpack(">4sq", handle.read(12))
        there = file_size - place - 12
        if name == b"desc":
            rate, n_bytes, n_frames = struct.unpack(">d8xII", handle.read(24).ljust(24, b"\0"))
            byte_rate = rate * n_bytes / n_frames if n_frames and 0 < rate < UNKNOWN_SIZE else 0.0
        if name == b"data" and (size < 0 or size > there):
            stated = size - 4 if size > there + SECTOR_BYTES else None
            return Header({place + 4: struct.pack(">q", there)}, stated_bytes=stated, byte_rate=byte_rate)
        place += 12 + max(size, 0)
    return Header()


def _flac(handle: BinaryIO) -> Header:
    """A number of samples other than that of the last frame."""
    handle.seek(0)
    head = handle.read(26)
    if len(head) < 26 or head[4] & 0x7F != 0:
        return Header()
    packed = int.from_bytes(head[18:26], "big")
    stated = packed & ((1 << FLAC_TOTAL_BITS) - 1)
    handle.seek(max(0, _file_size(handle) - TAIL_BYTES))
    there = last_flac_sample(handle.read(), int.from_bytes(head[10:12], "big"), (packed >> 41 & 7) + 1)
    if there == stated or there == 0:
        return Header()
    return Header(flac_total(head, there), stated_frames=stated)


def flac_total(head: bytes, frames: int) -> dict[int, bytes]:
    """The patch that gives a FLAC this number of samples; `head`: its first 26 bytes."""
    packed = int.from_bytes(head[18:26], "big") >> FLAC_TOTAL_BITS << FLAC_TOTAL_BITS
    return {18: (packed | frames).to_bytes(8, "big")}


def last_flac_sample(tail: bytes, block_size: int, channels: int) -> int:
    """The number of samples up to the end of the last frame that begins in the tail; 0 where none does."""
    at = len(tail)
    while (at := tail.rfind(b"\xff", 0, at)) >= 0:
        end = _frame_end(tail[at : at + 16], block_size, channels)
        if end:
            return end
    return 0


def _frame_end(head: bytes, block_size: int, channels: int) -> int:
    """The sample behind a frame whose header this is; 0 where it is none."""
    if len(head) < 6 or head[1] & 0xFE != 0xF8 or head[3] & 1:
        return 0
    size_code, rate_code, assignment = head[2] >> 4, head[2] & 15, head[3] >> 4
    n_channels = 2 if 8 <= assignment <= 10 else assignment + 1
    if size_code == 0 or rate_code == 15 or assignment > 10 or n_channels != channels:
        return 0
    length = next((n for n in range(8) if not head[4] << n & 0x80), 8)  # leading ones: bytes of the number
    if length in (1, 8):
        return 0
    number = head[4] & (0x7F >> length) if length else head[4]
    place = 4 + max(length, 1)
    for byte in head[5:place]:
        number = number << 6 | byte & 0x3F
    extra = {6: 1, 7: 2}.get(size_code, 0)
    size = int.from_bytes(head[place : place + extra], "big") + 1
    if not extra:
        size = 192 if size_code == 1 else 576 << (size_code - 2) if size_code < 6 else 256 << (size_code - 8)
    place += extra + {12: 1, 13: 2, 14: 2}.get(rate_code, 0)
    if place >= len(head) or _crc8(head[:place]) != head[place]:
        return 0
    return (number if head[1] & 1 else number * block_size) + size


def _crc8(data: bytes) -> int:
    """The checksum by which FLAC guards the headers of frames, of the polynomial x^8 + x^2 + x + 1."""
    crc = 0
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = (crc << 1 ^ 0x07) & 0xFF if crc & 0x80 else crc << 1
    return crc


def why_no_audio(path: Path) -> str:
    """What a file is that is not read as audio, and what to do, as the end of a sentence."""
    try:
        with path.open("rb") as handle:
            start = handle.read(4096)
    except OSError as error:
        return f"could not be read ({error.strerror or error}); check its permissions"
    if not start:
        return "the file is empty; copy or export it again"
    if not start.strip(b"\0"):
        return "holds zeros where its header should be; copy it again from where it was recorded"
    if start.startswith(b"version https://git-lfs"):
        return "a pointer of Git LFS and no audio; fetch it with git lfs pull"
    if start.lstrip().lower().startswith((b"<!doctype", b"<html", b"<?xml")):
        return "a web page and no audio; download it again"
    for at, mark, name in FOREIGN:
        if start[at : at + len(mark)] == mark:
            return f"{name}, which is not read here; convert it: {conversion(path)}"
    return "not readable as audio; export it again as wav or flac"


def conversion(path: Path) -> str:
    """The command that turns a recording into a wav file."""
    source, target = shlex.quote(path.name), shlex.quote(f"{path.stem}.wav")
    if source != target:
        return f"ffmpeg -i {source} {target}"
    other = shlex.quote(f"{path.stem}.original")
    return f"mv {source} {other} && ffmpeg -i {other} {target}"
