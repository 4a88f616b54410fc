"""Audio files as mono blocks at one sample rate, in memory bounded by the block and not by the file.

Every container that libsndfile knows is read, by its content and not by its suffix, and as long as it is,
whatever its header says (audio_header.py). Downmix: the mean over channels, or one of them. Resampling: soxr,
quality HQ, as a stream, so that the block borders leave no trace. Samples are float32, full scale 1.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
import soxr

from fiveshot.core.errors import FiveshotError
from fiveshot.core.sections import MEAN, Channel
from fiveshot.data.audio_header import (
    SECTOR_BYTES,
    UNKNOWN_SIZE,
    Header,
    Patched,
    flac_total,
    read_header,
    why_no_audio,
)

QUALITY = "HQ"
LOUDEST = 1e15  # full scale is 1; resampling and features of louder samples would overflow
# libsndfile reports a length near 2^63 when the file does not tell its own.
LONGEST_FRAMES = 1 << 40
COUNT_FRAMES = (
    4096  # read at once where a length has to be counted; a block of FLAC as most encoders write it
)
SHORT_S = 0.1  # a length that differs by less is that of a codec that fills its last packet
SHOWN_S = 3  # decimals of times in messages


@dataclass(frozen=True)
class AudioInfo:
    """What an audio file holds; frames are samples per channel. `stated_s`: another length in its header."""

    sample_rate: int
    channels: int
    frames: int
    duration_s: float
    stated_s: float | None = None

    @property
    def note(self) -> str:
        """A sentence on the two lengths; empty where they are equal."""
        if self.stated_s is None:
            return ""
        there = f"{self.duration_s:.{SHOWN_S}f} s are there and read"
        if self.stated_s == 0:
            return f"the header states no length; {there}."
        return f"the header states {self.stated_s:.{SHOWN_S}f} s, but {there}."


def probe(path: Path) -> AudioInfo:
    """Sample rate, channels and length of a file whose first and last sample can be read.

    Damage in the middle of a file shows only when it is read as a whole.

    Raises:
        FiveshotError: it is no audio, or holds no samples.
    """
    return _probe(path)[0]


def _probe(path: Path) -> tuple[AudioInfo, Header]:
    """What `probe` says, and the corrections of the header with which the file reads so."""
    header = _header(path)
    with _opened(path, header) as handle:
        frames, rate, kind = handle.frames, handle.samplerate, handle.format
        if frames <= 0:
            raise FiveshotError(f"{path}: the audio has no samples; record or export it again.")
        stated_s = _stated_s(handle, header)
        whole = frames < LONGEST_FRAMES and _can_be_read(handle, header, frames - 1)
        info = AudioInfo(rate, handle.channels, frames, frames / rate, stated_s)
    if whole:
        return info, header
    if kind == "FLAC":
        with path.open("rb") as file:
            head = file.read(26)
        # Without a length, the decoder goes on to the end.
        frames = _count(path, Header(flac_total(head, 0)))
        header = Header(flac_total(head, frames))
    else:
        frames = _count(path, header)
    if frames == 0:
        raise FiveshotError(f"{path}: {why_no_audio(path)}.")
    stated_s = info.stated_s if info.stated_s is not None else info.duration_s
    if stated_s > LONGEST_FRAMES / rate:
        stated_s = 0.0
    here = AudioInfo(rate, info.channels, frames, frames / rate, stated_s)
    short_s = 0.0 if kind == "FLAC" else SHORT_S
    return (here if abs(stated_s - here.duration_s) > short_s else _without_note(here)), header


def _without_note(info: AudioInfo) -> AudioInfo:
    return AudioInfo(info.sample_rate, info.channels, info.frames, info.duration_s)


def _stated_s(handle: soundfile.SoundFile, header: Header) -> float | None:
    """The length in the header, in seconds, where it is not that of the file."""
    rate = handle.samplerate
    if header.stated_frames is not None:
        return header.stated_frames / rate
    if header.stated_bytes is not None and header.byte_rate:
        return header.stated_bytes / header.byte_rate
    # What libsndfile notes on chunks that end behind the file.
    for stated, there in re.findall(r": (\d+) \(should be (\d+)\)", handle.extra_info):
        lost = int(stated) - int(there)
        if lost > SECTOR_BYTES and int(stated) < UNKNOWN_SIZE:
            return handle.frames / rate * int(stated) / max(int(there), 1)
    return None


def _can_be_read(handle: soundfile.SoundFile, header: Header, frame: int) -> bool:
    with _quiet(header.mpeg), suppress(soundfile.SoundFileError, RuntimeError):
        handle.seek(frame)
        return len(handle.read(1)) == 1
    return False


def _count(path: Path, header: Header) -> int:
    """The frames that can be decoded, one after the other, from the start."""
    frames = 0
    with _opened(path, header) as handle, _quiet(header.mpeg), suppress(soundfile.SoundFileError):
        while count := len(handle.read(COUNT_FRAMES, dtype="float32")):
            frames += count
    return frames


def read_blocks(
    path: Path,
    sample_rate: int,
    block_s: float = 30.0,
    channel: Channel = MEAN,
    faults: list[str] | None = None,
) -> Iterator[np.ndarray]:
    """Yield a file as mono blocks at `sample_rate`, one after the other without a seam.

    Output: (samples,) float32 each, never empty; about `block_s` seconds, the last one shorter. Together they
    are soxr.resample of the whole downmixed file. What is not finite, or above LOUDEST, is 0.

    Args:
        channel: "mean", or the number of one channel, from 1.
        faults: takes a sentence on samples that were not finite.

    Raises:
        FiveshotError: damage, when its block is reached; most of the samples are not finite; no such channel.
    """
    info, header = _probe(path)
    if channel != "mean" and channel > info.channels:
        has = f"has {info.channels} channels" if info.channels > 1 else "has one channel"
        raise FiveshotError(
            f"{path}: {has}, and audio.channel is {channel}; set it to mean, or to one that is there."
        )
    blocks = _mono_blocks(path, info, header, max(1, round(block_s * info.sample_rate)), channel, faults)
    if info.sample_rate != sample_rate:
        blocks = resampled(blocks, info.sample_rate, sample_rate)
    empty = True
    for block in blocks:
        if len(block):
            empty = False
            yield block
    if empty:
        raise FiveshotError(f"{path}: the audio is shorter than one sample at {sample_rate} Hz; take it out.")


def _mono_blocks(
    path: Path,
    info: AudioInfo,
    header: Header,
    block_frames: int,
    channel: Channel,
    faults: list[str] | None,
) -> Iterator[np.ndarray]:
    position, n_bad, first_bad = 0, 0, 0
    with _opened(path, header) as handle:
        while len(samples := _read(path, handle, header, min(block_frames, info.frames - position))):
            # What is not finite is taken out in the next lines; numpy need not warn of it.
            with np.errstate(over="ignore", invalid="ignore"):
                one = info.channels == 1 or channel != "mean"
                mono = samples[:, 0 if channel == "mean" else channel - 1] if one else samples.mean(axis=1)
            bad = np.flatnonzero(~(np.abs(mono) < LOUDEST))
            if len(bad):
                first_bad = first_bad if n_bad else position + int(bad[0])
                n_bad += len(bad)
                mono = np.where(np.abs(mono) < LOUDEST, mono, np.float32(0))
            position += len(mono)
            yield mono
    if position != info.frames:
        raise FiveshotError(
            f"{path}: the audio cannot be read beyond {position / info.sample_rate:.3f} s; copy it again."
        )
    if n_bad:
        _report_bad(path, n_bad, first_bad, info, faults)


def _read(path: Path, handle: soundfile.SoundFile, header: Header, frames: int) -> np.ndarray:
    """The next frames of a file, or fewer at its end: (frames, channels) float32."""
    try:
        with _quiet(header.mpeg):
            return handle.read(frames, dtype="float32", always_2d=True)
    except soundfile.SoundFileError as error:
        time_s = handle.tell() / handle.samplerate
        raise FiveshotError(f"{path}: the audio is damaged near {time_s:.1f} s; copy it again.") from error


def _report_bad(path: Path, n_bad: int, first: int, info: AudioInfo, faults: list[str] | None) -> None:
    time_s = first / info.sample_rate
    if 2 * n_bad > info.frames:
        raise FiveshotError(
            f"{path}: {n_bad} of {info.frames} samples are not finite, or far beyond full scale, the first "
            f"at {time_s:.3f} s; repair or re-export the audio."
        )
    if faults is not None:
        what = f"{n_bad} sample{' is' if n_bad == 1 else 's are'} not finite, or far beyond full scale"
        faults.append(f"{what}, and read as 0, the first at {time_s:.3f} s.")


def read_span(path: Path, onset_s: float, offset_s: float) -> tuple[np.ndarray, int]:
    """All channels of a span of a file as they are: (samples, channels) float32, and the sample rate."""
    info, header = _probe(path)
    first = min(max(int(onset_s * info.sample_rate), 0), info.frames - 1)
    end = min(max(int(np.ceil(offset_s * info.sample_rate)), first + 1), info.frames)
    with _opened(path, header) as handle:
        handle.seek(first)
        samples = _read(path, handle, header, end - first)
    return np.nan_to_num(samples, nan=0.0, posinf=0.0, neginf=0.0), info.sample_rate


def resampled(blocks: Iterator[np.ndarray], from_rate: int, to_rate: int) -> Iterator[np.ndarray]:
    """Mono blocks (samples,) float32 at another sample rate in Hz, without a seam between them."""
    stream = soxr.ResampleStream(from_rate, to_rate, 1, dtype="float32", quality=QUALITY)
    for block in blocks:
        yield stream.resample_chunk(block)
    # The filter still holds the end of the recording.
    yield stream.resample_chunk(np.zeros(0, dtype=np.float32), last=True)


def _header(path: Path) -> Header:
    if not path.is_file():
        raise FiveshotError(f"{path}: there is no such file; check the path.")
    try:
        return read_header(path)
    except OSError as error:
        raise FiveshotError(f"{path}: {why_no_audio(path)}.") from error


@contextmanager
def _opened(path: Path, header: Header) -> Iterator[soundfile.SoundFile]:
    """Open a file for reading; whatever soundfile or the disk says against it becomes a FiveshotError."""
    source = Patched(path, header.patches) if header.patches else None
    try:
        with _quiet(header.mpeg):
            handle = soundfile.SoundFile(source or str(path))
        with handle:
            yield handle
    except (soundfile.SoundFileError, OSError, ValueError, TypeError) as error:
        raise FiveshotError(f"{path}: {why_no_audio(path)}.") from error
    finally:
        if source:
            source.close()


@contextmanager
def _quiet(mpeg: bool) -> Iterator[None]:
    """Keep what the decoder of MP3 prints on damaged frames off the screen."""
    if not mpeg:
        yield
        return
    sys.stderr.flush()
    before = os.dup(2)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(before, 2)
        os.close(before)
        os.close(nowhere)
