"""Audio files as mono blocks at one sample rate, in memory bounded by the block and not by the file.

Downmix: the mean over channels. Resampling: soxr, quality HQ, as a stream, so that the block borders leave no
trace. Samples are float32, full scale 1.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
import soxr

from fiveshot.core.errors import FiveshotError

QUALITY = "HQ"
# Writers that cannot seek back leave a placeholder near 2^31 or 2^32 as the size of the data.
UNKNOWN_SIZE = 0x7FFF0000
# Some recorders round the size of the data up to a sector; less than that is no loss of recording.
SECTOR_BYTES = 512
# libsndfile reports a length near 2^63 when the file does not tell its own.
LONGEST_FRAMES = 1 << 40


@dataclass(frozen=True)
class AudioInfo:
    """What the header of an audio file says; frames are samples per channel."""

    sample_rate: int
    channels: int
    frames: int
    duration_s: float


def probe(path: Path) -> AudioInfo:
    """Sample rate, channels and length of a file whose first and last sample can be read.

    Damage in the middle of a file shows only when it is read as a whole.
    """
    with _opened(path) as handle:
        _check_length(path, handle)
        # A FLAC that was cut off still has the full length in its header.
        handle.seek(handle.frames - 1)
        if len(handle.read(1)) != 1:
            raise _cut_off(path)
        return AudioInfo(handle.samplerate, handle.channels, handle.frames, handle.frames / handle.samplerate)


def read_blocks(path: Path, sample_rate: int, block_s: float = 30.0) -> Iterator[np.ndarray]:
    """Yield a file as mono blocks at `sample_rate`, one after the other without a seam.

    Output: (samples,) float32 each, never empty; about `block_s` seconds, the last one shorter. Together they
    are soxr.resample of the whole downmixed file. A damaged file or a sample that is not finite is a
    FiveshotError, raised when its block is reached.
    """
    info = probe(path)
    blocks = _mono_blocks(path, info, max(1, round(block_s * info.sample_rate)))
    if info.sample_rate != sample_rate:
        blocks = resampled(blocks, info.sample_rate, sample_rate)
    empty = True
    for block in blocks:
        if len(block):
            empty = False
            yield block
    if empty:
        raise FiveshotError(f"{path}: the audio is shorter than one sample at {sample_rate} Hz; take it out.")


def _mono_blocks(path: Path, info: AudioInfo, block_frames: int) -> Iterator[np.ndarray]:
    position = 0
    with _opened(path) as handle:
        while len(samples := handle.read(block_frames, dtype="float32", always_2d=True)):
            # What is not finite is refused in the next line; numpy need not warn of it.
            with np.errstate(over="ignore", invalid="ignore"):
                mono = samples[:, 0] if info.channels == 1 else samples.mean(axis=1)
            _check_finite(path, mono, position, info.sample_rate)
            position += len(mono)
            yield mono
    if position != info.frames:
        raise _cut_off(path)


def resampled(blocks: Iterator[np.ndarray], from_rate: int, to_rate: int) -> Iterator[np.ndarray]:
    """Mono blocks (samples,) float32 at another sample rate in Hz, without a seam between them."""
    stream = soxr.ResampleStream(from_rate, to_rate, 1, dtype="float32", quality=QUALITY)
    for block in blocks:
        yield stream.resample_chunk(block)
    # The filter still holds the end of the recording.
    yield stream.resample_chunk(np.zeros(0, dtype=np.float32), last=True)


def _check_finite(path: Path, mono: np.ndarray, position: int, sample_rate: int) -> None:
    # A channel that is not finite makes the mean so; one look at the mean is enough.
    bad = np.flatnonzero(~np.isfinite(mono))
    if len(bad):
        time_s = (position + bad[0]) / sample_rate
        raise FiveshotError(
            f"{path}: the sample at {time_s:.3f} s is not a finite number; repair or re-export the audio."
        )


def _check_length(path: Path, handle: soundfile.SoundFile) -> None:
    if handle.frames <= 0:
        raise FiveshotError(f"{path}: the audio has no samples; record or export it again.")
    if handle.frames > LONGEST_FRAMES:
        raise FiveshotError(f"{path}: the header does not tell the length of the audio; re-encode the file.")
    if _missing_wav_bytes(path) > SECTOR_BYTES:
        raise _cut_off(path)


def _missing_wav_bytes(path: Path) -> int:
    """Bytes of samples that a RIFF or RF64 header promises and the file does not have.

    libsndfile shortens such a file silently, and annotations of the lost part would look like mistakes.
    """
    with path.open("rb") as handle:
        magic, _, kind = struct.unpack("<4sI4s", handle.read(12).ljust(12))
        if magic not in (b"RIFF", b"RF64") or kind != b"WAVE":
            return 0
        long_size = 0
        while len(head := handle.read(8)) == 8:
            name, size = struct.unpack("<4sI", head)
            end = handle.tell() + size + size % 2
            if name == b"ds64":  # the sizes of file and data, where 32 bits are too few
                _, long_size = struct.unpack("<QQ", handle.read(16).ljust(16, b"\0"))
            if name == b"data":
                left = os.fstat(handle.fileno()).st_size - handle.tell()
                return (size if size < UNKNOWN_SIZE else long_size) - left
            handle.seek(end)
    return 0


def _cut_off(path: Path) -> FiveshotError:
    return FiveshotError(f"{path}: the audio ends before the length in its header; copy or export it again.")


@contextmanager
def _opened(path: Path) -> Iterator[soundfile.SoundFile]:
    """Open a file for reading; whatever soundfile or the disk says against it becomes a FiveshotError."""
    if not path.is_file():
        raise FiveshotError(f"{path}: there is no such file; check the path.")
    try:
        with soundfile.SoundFile(str(path)) as handle:
            yield handle
    except (soundfile.SoundFileError, OSError, ValueError) as error:
        raise FiveshotError(f"{path}: not readable as audio ({_reason(error)}); export it again.") from error


def _reason(error: Exception) -> str:
    text = getattr(error, "error_string", None) or str(error)
    return text.removeprefix("Error : ").rstrip(".")
