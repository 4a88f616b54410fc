"""The sound of one call: an element's pitch, amplitude and source, all as whole arrays.

Pitch and amplitude change slowly, so they are computed on every eighth sample and drawn out in between. A
tone is read from one period of its harmonics: twenty partials cost as much as one.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import scipy.fft

from fiveshot.data.synthetic.call_types import CallType, Variation, shift
from fiveshot.data.synthetic.families import Element, draw_contour

CONTROL = 8  # samples between two values of a slow curve
TABLE = 4096  # samples of one stored period
TOP = 0.46  # highest frequency of a sound, relative to the sample rate
NARROW_OCTAVES = 1.2  # noise up to this width follows the pitch
EDGE_S = 0.002  # shortest rise and fall of a sound that is no knock


def render_call(
    call_type: CallType, individual: Variation, sample_rate: int, rng: np.random.Generator
) -> np.ndarray:
    """One rendition of a type by an individual, at a root mean square of 1.

    Args:
        individual: constant offsets of who calls, from `CallType.individual`.
        rng: what the rendition's own offsets and its noise are drawn from.

    Returns:
        (samples,) float32, from onset to offset.
    """
    offsets = individual + call_type.spread.draw(rng)
    parts: list[np.ndarray] = []
    for element in _elements(call_type, rng):
        varied = _loosened(element, offsets, call_type, rng)
        parts.append(render_element(varied, sample_rate, rng) * np.float32(10 ** (varied.level_db / 20)))
        parts.append(np.zeros(round(varied.gap_s * sample_rate), np.float32))
    sound = np.concatenate(parts[:-1])
    return sound / np.float32(np.sqrt(np.mean(np.square(sound))) + 1e-12)


def _elements(call_type: CallType, rng: np.random.Generator) -> list[Element]:
    """The elements of one rendition: of a free phrase more or fewer, in the same order."""
    elements = list(call_type.elements)
    if len(elements) > 2 and call_type.free_count:
        factor = float(np.exp(call_type.free_count * np.clip(rng.standard_normal(), -1.5, 1.5)))
        count = max(2, round(len(elements) * factor))
        return [elements[i % len(elements)] for i in range(count)]
    return elements


def _loosened(element: Element, offsets: Variation, call_type: CallType, rng: np.random.Generator) -> Element:
    """Each element, and each bend of its contour, differs a little more than the call as a whole."""
    spread, z = call_type.spread, np.clip(rng.standard_normal(2), -2, 2)
    contour = np.asarray(element.contour)
    if contour.size > 2 and spread.pitch:
        contour = contour + 0.4 * spread.pitch * rng.standard_normal(contour.size)
    if contour.size > 1 and call_type.free_contour:
        own = draw_contour(rng, float(np.ptp(contour)))
        own_knots = np.interp(np.linspace(0, 1, contour.size), np.linspace(0, 1, len(own)), own)
        contour = contour + call_type.free_contour * (own_knots - contour)
    extra = Variation(length=0.4 * spread.length * float(z[0]))
    level_db = element.level_db + spread.timbre * float(z[1])
    return shift(element, offsets + extra, contour=tuple(contour.tolist()), level_db=level_db)


def render_element(element: Element, sample_rate: int, rng: np.random.Generator) -> np.ndarray:
    """The waveform of one element, of about unit amplitude. Output: (samples,), float32."""
    n = max(16, round(element.duration_s * sample_rate))
    if element.source == "pulses":
        return _pulses(element, n, sample_rate, rng) * _draw_out(_envelope(element, n, sample_rate), n)
    u = np.arange(n // CONTROL + 2, dtype=np.float64) * CONTROL / n
    place, gate = _gate(element, u, n / sample_rate, rng)
    pitch_hz = _pitch_hz(element, place if element.per_pulse else u, u, n / sample_rate, sample_rate, rng)
    amplitude = _draw_out(gate * _envelope(element, n, sample_rate), n)
    cycles = np.cumsum(np.repeat(pitch_hz / sample_rate, CONTROL)[:n])
    if element.source == "noise":
        return amplitude * _noise(element, cycles, sample_rate, rng)
    return amplitude * _tone(element, cycles, float(pitch_hz.max()), sample_rate, rng)


def _draw_out(curve: np.ndarray, n: int) -> np.ndarray:
    """`n` samples through the values of a slow curve, in straight lines. Output: (n,), float32."""
    return stretch(curve.astype(np.float32), CONTROL)[:n]


def stretch(values: np.ndarray, factor: int) -> np.ndarray:
    """`factor` samples from each value to the next. Output: ((values - 1) * factor,), of the same type."""
    ramp = np.arange(factor, dtype=values.dtype) / factor
    return (values[:-1, None] + np.diff(values)[:, None] * ramp).ravel()


def _envelope(element: Element, n: int, sample_rate: int) -> np.ndarray:
    """Rise, swell and fall at the control rate."""
    u = np.arange(n // CONTROL + 2) * CONTROL / n
    least = EDGE_S * sample_rate / n
    if element.source == "pulses":
        return np.clip((1 - u) / min(0.3, 4 * least), 0, 1) * (1 - 0.6 * (u - element.swell) ** 2)
    edges = np.minimum(
        u / max(element.attack, min(0.3, least)), (1 - u) / max(element.decay, min(0.3, least))
    )
    return np.sin(np.clip(edges, 0, 1) * (np.pi / 2)) ** 2 * (1 - 0.8 * (u - element.swell) ** 2)


def _gate(
    element: Element, u: np.ndarray, length_s: float, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """The place within a pulse (0 to 1) and the amplitude of pulses and groups, at the control rate."""
    place, gate = u, np.ones_like(u)
    if element.rate_hz:
        count = max(1.0, round(element.rate_hz * length_s)) - (1 - element.duty)
        drift = np.exp2(element.rate_drift * (u - 0.5))
        wobble = 1 + element.rate_jitter * np.sin(2 * np.pi * (rng.random() + u * rng.uniform(1, 7)))
        cycles = np.cumsum(drift * wobble)
        place = np.minimum((cycles * (count / cycles[-1])) % 1 / element.duty, 1.0)
        gate = element.gate_floor + (1 - element.gate_floor) * np.sin(np.pi * place)
    if element.group_hz:
        groups = max(1.0, round(element.group_hz * length_s)) - (1 - element.group_duty)
        within = np.minimum(u * groups % 1 / element.group_duty, 1.0)
        gate = gate * np.sin(np.pi * within) ** 0.5
    return place, gate


def _pitch_hz(
    element: Element,
    place: np.ndarray,
    u: np.ndarray,
    length_s: float,
    sample_rate: int,
    rng: np.random.Generator,
) -> np.ndarray:
    """The pitch at the control rate."""
    knots = np.asarray(element.contour)
    if element.jumps:
        octaves = knots[np.minimum((place * knots.size).astype(int), knots.size - 1)]
    else:
        octaves = np.interp(place, np.linspace(0, 1, knots.size), knots)
    if element.vibrato_hz:
        octaves = octaves + element.vibrato_octaves * np.sin(2 * np.pi * element.vibrato_hz * length_s * u)
    if element.chaos:
        rough = (u >= element.rough_part[0]) & (u <= element.rough_part[1])
        octaves = octaves + rough * element.chaos * rng.standard_normal(u.size)
    return np.minimum(element.pitch_hz * np.exp2(octaves), TOP * sample_rate)


def _tone(
    element: Element, cycles: np.ndarray, highest_hz: float, sample_rate: int, rng: np.random.Generator
) -> np.ndarray:
    """Harmonics, a second voice, subharmonics and breath at these cycles of the pitch."""
    table = _period(element, highest_hz, sample_rate)
    sound = _read(table, cycles)
    if element.second_voice:
        ratio = min(element.voice_ratio, TOP * sample_rate / highest_hz)
        sound += np.float32(element.second_voice) * _read(
            _period(element, highest_hz * ratio, sample_rate), cycles * ratio
        )
    if element.subharmonic:
        first, last = (int(part * cycles.size) for part in element.rough_part)
        turn = cycles[first:last] * (2 * np.pi / element.subharmonic_period)
        sound[first:last] *= 1 + np.float32(element.subharmonic) * np.cos(turn.astype(np.float32))
    if element.breath:
        # around the loudest harmonic
        loudest = 1 + int(np.argmax(element.partials))
        around = replace(element, pitch_hz=element.pitch_hz * loudest)
        sound += np.float32(element.breath) * _noise(around, cycles * loudest, sample_rate, rng)
    return sound


def _period(element: Element, highest_hz: float, sample_rate: int) -> np.ndarray:
    """One period of the harmonics that stay below the Nyquist frequency. Output: (TABLE,), float32."""
    number = np.arange(1, len(element.partials) + 1)
    partials = np.asarray(element.partials) * 10 ** (element.tilt_db * np.log2(number) / 20)
    partials = partials[: max(1, int(TOP * sample_rate / highest_hz))]
    partials = partials / partials.max()  # those that are left may all be faint
    spectrum = np.zeros(TABLE // 2 + 1, np.complex64)
    # phases that spread the energy over the period, as in a real voice's
    phases = np.pi * number[: partials.size] ** 2 / partials.size
    spectrum[1 : partials.size + 1] = partials * np.exp(1j * phases)
    period = scipy.fft.irfft(spectrum, TABLE)
    return period / np.sqrt(np.mean(np.square(period)))


def _read(table: np.ndarray, cycles: np.ndarray) -> np.ndarray:
    return table[(cycles * TABLE).astype(np.int64) & (TABLE - 1)]


def _noise(element: Element, cycles: np.ndarray, sample_rate: int, rng: np.random.Generator) -> np.ndarray:
    """Noise around the pitch, `noise_octaves` wide; it follows the pitch. Output: (samples,), float32."""
    if element.noise_octaves > NARROW_OCTAVES:
        return _wide_noise(element, cycles.size, sample_rate, rng)
    width_hz = element.pitch_hz * (2 ** (element.noise_octaves / 2) - 2 ** (-element.noise_octaves / 2))
    step = int(np.clip(sample_rate / (2.5 * width_hz), 2, 256))
    slow = rng.standard_normal((2, cycles.size // step + 4), np.float32)
    # smoothed before it is drawn out: straight lines alone would leave bands of noise far from the pitch
    slow = slow[:, :-2] + 2 * slow[:, 1:-1] + slow[:, 2:]
    angle = (2 * np.pi * (cycles % 1)).astype(np.float32)
    parts = [stretch(row, step)[: cycles.size] for row in slow]
    return np.float32(0.45) * (parts[0] * np.cos(angle) + parts[1] * np.sin(angle))


def _wide_noise(element: Element, n: int, sample_rate: int, rng: np.random.Generator) -> np.ndarray:
    """Noise of several octaves, too wide to follow the pitch. Output: (n,), float32."""
    length = scipy.fft.next_fast_len(n, real=True)
    normal = rng.standard_normal((2, length // 2 + 1), np.float32)
    f = np.maximum(np.arange(normal.shape[1], dtype=np.float32), 0.5) * np.float32(
        sample_rate / length / element.pitch_hz
    )
    shape = np.exp(-np.square(np.log2(f) * np.float32(1.4 / element.noise_octaves)) * 2)
    shape *= f ** np.float32(-0.5)  # even over octaves
    sound = scipy.fft.irfft((normal[0] + 1j * normal[1]) * shape, length)[:n]
    return sound * np.float32(0.9 / (np.sqrt(np.mean(np.square(sound))) + 1e-12))


def _pulses(element: Element, n: int, sample_rate: int, rng: np.random.Generator) -> np.ndarray:
    """Damped resonances and bursts of noise at each pulse. Output: (n,), float32."""
    length_s = n / sample_rate
    count = max(1, round(element.rate_hz * length_s))
    if count > 1:
        steps = np.exp2(-element.rate_drift * (np.arange(count) / count - 0.5))
        steps *= np.exp(element.rate_jitter * rng.standard_normal(count))
        starts = np.concatenate([[0.0], np.cumsum(steps)[:-1] / steps.sum()]) * n
    else:
        starts = np.zeros(1)
    first = starts.astype(int)
    lengths = np.diff(np.append(first, n))
    since_s = ((np.arange(n) - np.repeat(first, lengths)) / sample_rate).astype(np.float32)
    octaves = np.interp(starts / n, np.linspace(0, 1, len(element.contour)), element.contour)
    pitch_hz = np.repeat(element.pitch_hz * np.exp2(octaves), lengths).astype(np.float32)
    strength = np.repeat(np.exp(0.2 * rng.standard_normal(count)), lengths).astype(np.float32)
    decay = strength * np.exp(since_s * np.float32(-1 / element.damping_s))
    decay *= np.minimum(1, since_s * np.float32(1 / 0.0003))
    sound = np.zeros(n, np.float32)
    for mode in element.modes:
        if mode * element.pitch_hz < TOP * sample_rate:
            sound += np.sin(np.float32(2 * np.pi * mode) * pitch_hz * since_s)
    if element.breath:
        cycles = np.arange(n) * (element.pitch_hz / sample_rate)
        sound += np.float32(element.breath) * _noise(element, cycles, sample_rate, rng)
    return sound * decay
