"""Audio: files of several containers and subtypes, and what must hold of what is read from their mutants."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
import soundfile
from fuzz_mutations import mutate_bytes
from fuzz_own import tiny_config
from fuzz_run import Case, Format, right
from fuzz_text import TEST_CSV, check_corpus, corpus_file, made

from fiveshot.core.provenance import Provenance
from fiveshot.data.annotations import EventTable
from fiveshot.data.audio import probe, read_blocks
from fiveshot.data.corpus import Recording
from fiveshot.data.extraction import write_features
from fiveshot.data.feature_files import open_features

RATE = 22050
SAMPLES = 10_000  # of all channels together
MISSING = 512  # bytes at the end of a wav that may be missing: some recorders round the size up
LONGEST_S = 60.0  # features of longer mutants (a header with a low sample rate) are not computed
AUDIO = {  # name → container, subtype, channels, sample rate
    "wav": (
        *(("WAV", "PCM_16", 1, RATE), ("WAV", "PCM_24", 2, 44100), ("WAV", "PCM_U8", 1, 8000)),
        *(("WAV", "FLOAT", 1, RATE), ("WAV", "DOUBLE", 2, 48000), ("WAVEX", "PCM_16", 4, 16000)),
        *(("WAVEX", "FLOAT", 6, RATE), ("WAV", "PCM_32", 1, 250000), ("WAV", "ULAW", 1, 8000)),
        *(("WAV", "IMA_ADPCM", 1, RATE), ("WAV", "MS_ADPCM", 2, RATE), ("RF64", "PCM_16", 1, RATE)),
    ),
    "flac": (("FLAC", "PCM_16", 1, RATE), ("FLAC", "PCM_24", 2, 44100), ("FLAC", "PCM_S8", 3, 16000)),
    "aiff": (
        *(("AIFF", "PCM_16", 1, RATE), ("AU", "FLOAT", 2, 44100), ("CAF", "PCM_16", 1, 8000)),
        *(("W64", "PCM_24", 1, RATE), ("CAF", "ALAC_16", 1, RATE), ("NIST", "PCM_16", 1, 16000)),
        *(("OGG", "VORBIS", 2, RATE), ("OGG", "OPUS", 1, 48000), ("MP3", "MPEG_LAYER_III", 1, RATE)),
    ),
}


def audio_format(name: str, folder: Path) -> Format:
    """Audio of several subtypes, sample rates and numbers of channels; one beside its csv in a corpus."""
    cases: list[Case] = []
    whole: list[np.ndarray] = []  # what the whole FLAC files hold
    for number, (container, subtype, channels, rate) in enumerate(AUDIO[name]):
        path = folder / f"{number}" / f"a.{name}"
        content = _audio(path, container, subtype, channels, rate)
        path.write_bytes(content)
        if name == "flac":
            whole.append(_all_samples(path))
            cases.append(Case(path, content, partial(_check_flac, whole)))
        elif name == "wav":
            cases.append(Case(path, content, partial(_check_wav, content)))
        else:
            cases.append(Case(path, content, _check_audio))
    content = cases[0].content
    path = made(corpus_file(folder / "corpus", "test", name), content)
    made(path.with_suffix(".csv"), TEST_CSV.encode())
    cases.append(Case(path, content, partial(check_corpus, folder / "corpus", "test")))
    return Format(name, cases, mutate_bytes)


def _audio(path: Path, container: str, subtype: str, channels: int = 1, rate: int = RATE) -> bytes:
    """Write a chirp with noise, other in each channel; its bytes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    t = np.arange(SAMPLES // channels) / rate
    rng = np.random.default_rng(channels)
    samples = [
        0.3 * np.sin(2000 * (c + 1 + t) * t) + 0.01 * rng.standard_normal(len(t)) for c in range(channels)
    ]
    soundfile.write(str(path), np.stack(samples, axis=1), rate, subtype=subtype, format=container)
    content = bytearray(path.read_bytes())
    # libsndfile writes the time of day into this chunk; mutants are to be the same on every day.
    if (peak := content.find(b"PEAK")) > 0:
        content[peak + 12 : peak + 16] = bytes(4)
    return bytes(content)


def _all_samples(path: Path) -> np.ndarray:
    return np.concatenate(list(read_blocks(path, probe(path).sample_rate)))


def _check_flac(whole: list[np.ndarray], path: Path) -> None:
    """FLAC carries checksums of its frames, but none of the rate and length in its header.

    A mutant is refused, or holds what one of the whole files does; where it holds less, it says so.
    """
    _check_audio(path)
    samples = _all_samples(path)
    same = [one for one in whole if np.array_equal(samples, one[: len(samples)])]
    right(bool(same), "other samples than were written")
    right(any(len(one) == len(samples) for one in same) or bool(probe(path).note), "less read without a word")


def _check_wav(whole: bytes, path: Path) -> None:
    """A mutant that ends early says so; other damage to samples cannot be told."""
    _check_audio(path)
    content = path.read_bytes()
    cut_off = len(content) < len(whole) - MISSING and whole.startswith(content)
    right(not cut_off or bool(probe(path).note), f"{len(content)} of {len(whole)} bytes read as if all")


def _check_audio(path: Path) -> None:
    """Blocks are finite float32 and as long together as the probe says, as they are and resampled."""
    info = probe(path)
    right(info.frames > 0 and info.channels > 0 and info.sample_rate > 0, f"nothing in {info}")
    right(info.duration_s == info.frames / info.sample_rate, "another duration")
    right(_samples(path, info.sample_rate, 0.1) == info.frames, "another length than that of the probe")
    if info.duration_s > LONGEST_S:
        return
    samples = _samples(path, RATE, 30.0)
    right(abs(samples - info.duration_s * RATE) <= 1, f"{samples} samples of {info}")
    _check_extracted(path, info.duration_s)


def _samples(path: Path, sample_rate: int, block_s: float) -> int:
    count = 0
    for block in read_blocks(path, sample_rate, block_s):
        right(block.dtype == np.float32 and block.ndim == 1 and len(block) > 0, "a block of another shape")
        right(bool(np.isfinite(block).all()), "samples that are not finite")
        count += len(block)
    return count


def _check_extracted(path: Path, duration_s: float) -> None:
    settings, none = tiny_config().features, np.zeros(0)
    table = EventTable(none, none, none.astype(object), none.astype(object), "a.wav")
    recording = Recording("train", "OWL", "a", "OWL/a", path, path, RATE, 1, duration_s, table, "a.wav")
    write_features(path.with_name("a.h5"), recording, settings, Provenance({"made by": "fuzz"}))
    file = open_features(path.with_name("a.h5"), settings)
    values = file.frames()
    right(bool(np.isfinite(values).all()), "features that are not finite")
    right(values.shape[1] == file.n_frames > 0, "another number of frames")
