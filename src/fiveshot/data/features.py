"""Waveform blocks in, PCEN and log-mel frames out, in bounded memory.

Frames are centred: frame i covers samples around i·hop, with zeros beyond both ends, so that a recording
of n samples has 1 + n // hop frames, however it is cut into blocks.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import librosa
import numpy as np
import torch

from fiveshot.core.sections import Features, Pcen
from fiveshot.data.torchaudio_compat import MelSpectrogram

WAVEFORM_GAIN = 2.0**32  # of the published pipeline; PCEN all but cancels it, its eps and bias do not
LOG_FLOOR = 1e-10  # mel power (full scale 1) below which log-mel is flat


def mel_transform(settings: Features) -> MelSpectrogram:
    """The mel power spectrogram of librosa's defaults (Slaney scale and norm), without padding."""
    return MelSpectrogram(
        sample_rate=settings.sample_rate,
        n_fft=settings.n_fft,
        hop_length=settings.hop,
        n_mels=settings.mels,
        f_min=settings.f_min,
        f_max=settings.f_max,
        power=2.0,
        center=False,
        norm="slaney",
        mel_scale="slaney",
    )


def mel_blocks(waveform: Iterable[np.ndarray], settings: Features) -> Iterator[np.ndarray]:
    """Mel power of a waveform given in blocks.

    Args:
        waveform: float32 blocks (samples,), full scale 1, at `settings.sample_rate`.

    Yields:
        float32 (frames, mels); all blocks together hold 1 + samples // hop frames.
    """
    transform = mel_transform(settings)
    half, hop = settings.n_fft // 2, settings.hop
    buffer = np.zeros(half, dtype=np.float32)
    n_samples = done = 0
    for block in waveform:
        n_samples += len(block)
        buffer = np.concatenate([buffer, block])
        n_frames = max(0, (len(buffer) - settings.n_fft) // hop + 1)
        if n_frames:
            yield _power(transform, buffer[: (n_frames - 1) * hop + settings.n_fft])
            buffer = buffer[n_frames * hop :]
            done += n_frames
    n_frames = 1 + n_samples // hop - done
    if n_samples and n_frames > 0:
        missing = (n_frames - 1) * hop + settings.n_fft - len(buffer)
        yield _power(transform, np.pad(buffer, (0, max(0, missing))))[:n_frames]


def _power(transform: MelSpectrogram, samples: np.ndarray) -> np.ndarray:
    with torch.inference_mode():
        return transform(torch.from_numpy(np.ascontiguousarray(samples))).T.contiguous().numpy()


def pcen_blocks(mel: Iterable[np.ndarray], settings: Features) -> Iterator[np.ndarray]:
    """Per-channel energy normalisation (librosa's), its smoother carried from block to block.

    Args:
        mel: float32 (frames, mels) blocks of mel power, full scale 1.

    Yields:
        float32 (frames, mels).
    """
    pcen: Pcen = settings.pcen
    state = None
    for block in mel:
        values, state = librosa.pcen(
            block.T.astype(np.float64) * WAVEFORM_GAIN**2,
            sr=settings.sample_rate,
            hop_length=settings.hop,
            gain=pcen.gain,
            bias=pcen.bias,
            power=pcen.power,
            time_constant=pcen.time_constant_s,
            eps=pcen.eps,
            zi=state,
            return_zf=True,
        )
        yield values.T.astype(np.float32)


def log_mel(mel: np.ndarray) -> np.ndarray:
    """Natural logarithm of mel power (full scale 1), floored at -23: (frames, mels) float32."""
    return np.log(np.maximum(mel, LOG_FLOOR))


def feature_blocks(waveform: Iterable[np.ndarray], settings: Features) -> Iterator[dict[str, np.ndarray]]:
    """The feature kinds of `settings`, block by block: name -> float32 (frames, mels)."""
    mel = mel_blocks(waveform, settings)
    if settings.kind == "log_mel":
        yield from ({"log_mel": log_mel(block)} for block in mel)
        return
    kept: list[np.ndarray] = []

    def remembered() -> Iterator[np.ndarray]:
        for block in mel:
            kept.append(block)
            yield block

    # pcen_blocks draws exactly one mel block for each block that it yields.
    for values in pcen_blocks(remembered(), settings):
        block = kept.pop()
        yield {"pcen": values} if settings.kind == "pcen" else {"pcen": values, "log_mel": log_mel(block)}
