"""Endless few-shot scenes of invented sound: five marked calls, then a query in which to find the others.

    scene = make_scene(seed=0, number=17, settings=SceneSettings())

A scene is drawn from its seed and number alone: equal bytes whatever was made before, in whatever process.
One call type of a bank is the target; other types of the bank, near relatives of the target, strangers and
the target's own type from far away are heard around it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.fft

from fiveshot.core.errors import FiveshotError
from fiveshot.data.synthetic.backgrounds import background
from fiveshot.data.synthetic.draws import chance, log_uniform, rng_for
from fiveshot.data.synthetic.plan import Plan, SceneEvents, draw_plan
from fiveshot.data.synthetic.recorder import draw_recorder, record
from fiveshot.data.synthetic.settings import SceneSettings

__all__ = ["Scene", "SceneEvents", "SceneSettings", "make_scene"]
PSD_FRAME = 2048  # samples of a frame in which the background's spectrum is measured
ATTEMPTS = 20  # scenes whose five shots did not come about are drawn again


@dataclass(frozen=True)
class Scene:
    """A recording with five shots and everything that is in it.

    Attributes:
        sound: (samples,) float32, between -1 and 1.
        target: number of the target's type.
        shots: (5, 2) onset and offset in seconds of the first five known events of the target.
        query_start_s: end of the fifth shot.
    """

    sound: np.ndarray
    sample_rate: int
    events: SceneEvents
    target: int
    shots: np.ndarray
    query_start_s: float


def make_scene(seed: int, number: int, settings: SceneSettings) -> Scene:
    """The scene of this number.

    Args:
        seed: of the bank and of all scenes.
        number: any number from 0.
        settings: of the generator; equal ones give equal bytes.
    """
    rng = rng_for(seed, "scene", str(number))
    for _ in range(ATTEMPTS):
        plan = draw_plan(rng, seed, settings)
        if plan is not None:
            return _rendered(plan, rng_for(seed, "sound", str(number)), settings)
    raise FiveshotError("scenes: five shots did not come about; give support_longest_s more room.")


def _rendered(plan: Plan, rng: np.random.Generator, settings: SceneSettings) -> Scene:
    """The sound of a plan."""
    rate = settings.sample_rate
    samples = int(np.ceil(plan.end_s * rate))
    query = min(samples, round(float(plan.shots[-1, 1]) * rate))
    recorder = draw_recorder(rng, settings.recorder, rate, plan.target_band_hz)
    sound = background(rng, samples, rate, settings.layers, settings.textures)
    parts = [(0, samples)]
    if chance(rng, settings.another_place):
        other = background(rng, samples - query, rate, settings.layers, settings.textures)
        sound[query:] = other * np.float32(log_uniform(rng, 0.3, 3.0))
        parts = [(0, query), (query, samples)]
    spectra = [_density(sound[first:last], rate) for first, last in parts]
    sent = np.zeros(samples, np.float32) if recorder.reverberation_s else None
    send = 10 ** (rng.uniform(-18, 3) / 20)
    for call in plan.calls:
        wave, start = call.rendition.sound, round(call.start_s * rate)
        part = int(len(parts) > 1 and start >= query)
        amplitude = _amplitude(spectra[part], call.rendition.band_hz, call.rendition.snr_db)
        stop = min(start + wave.size, samples)
        if stop <= start:
            continue
        sound[start:stop] += np.float32(amplitude) * wave[: stop - start]
        if sent is not None:
            sent[start:stop] += np.float32(amplitude * send) * wave[: stop - start]
    sound = record(recorder, sound, sent, rate, rng)
    return Scene(sound, rate, plan.events, plan.target.number, plan.shots, float(plan.shots[-1, 1]))


def _density(sound: np.ndarray, sample_rate: int) -> tuple[np.ndarray, np.ndarray]:
    """Frequencies (Hz), and the sum up to each of the logarithm of a sound's power per bin."""
    count = max(1, min(48, sound.size // PSD_FRAME))
    starts = np.linspace(0, max(0, sound.size - PSD_FRAME), count).astype(int)
    window = np.hanning(PSD_FRAME).astype(np.float32)
    frames = np.stack([np.resize(sound[s : s + PSD_FRAME], PSD_FRAME) for s in starts]) * window
    spectrum = scipy.fft.rfft(frames, axis=1)
    power = (np.square(spectrum.real) + np.square(spectrum.imag)).mean(axis=0)
    power *= 2 / (PSD_FRAME * np.square(window).sum())
    edges = (np.arange(power.size + 1) - 0.5) * sample_rate / PSD_FRAME
    return edges, np.append(0.0, np.cumsum(np.log(power + 1e-14), dtype=np.float64))


def _amplitude(density: tuple[np.ndarray, np.ndarray], band_hz: tuple[float, float], snr_db: float) -> float:
    """Root mean square of a call that lies so far above the background in this band.

    The background's power is taken from its mean density in dB: under a steep spectrum the lowest edge of a
    wide band holds nearly all power, and a call set against that would be far too loud everywhere else.
    """
    edges, below = density
    bins = np.interp(band_hz, edges, np.arange(edges.size))
    low, high = np.interp(band_hz, edges, below)
    width = max(bins[1] - bins[0], 1e-3)
    return float(np.sqrt(width * np.exp((high - low) / width)) * 10 ** (snr_db / 20))
