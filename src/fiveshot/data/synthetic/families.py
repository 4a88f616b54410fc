"""The families of invented calls: how the elements of a type are drawn.

An `Element` is one stretch of sound from one source: a tone with harmonics, a band of noise, or damped
pulses. All fields are those of the call without variation; `sounds` turns them into a waveform.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from fiveshot.data.synthetic.draws import chance, log_uniform, sign


@dataclass(frozen=True)
class Element:
    """One stretch of sound. Fractions are of the element's length, octaves relative to `pitch_hz`."""

    source: str  # tone, noise or pulses
    duration_s: float
    pitch_hz: float
    gap_s: float = 0.0  # silence after it, where another element follows
    level_db: float = 0.0  # relative to the other elements
    contour: tuple[float, ...] = (0.0,)  # octaves at evenly spaced places
    jumps: bool = False  # the contour jumps from place to place instead of gliding
    vibrato_hz: float = 0.0
    vibrato_octaves: float = 0.0
    partials: tuple[float, ...] = (1.0,)  # amplitudes of the harmonics of a tone
    second_voice: float = 0.0  # amplitude of a second, inharmonic voice
    voice_ratio: float = 1.3  # of the second voice's pitch to the first one's, at the onset
    subharmonic: float = 0.0  # depth of the modulation at `subharmonic_period` periods
    subharmonic_period: int = 2
    chaos: float = 0.0  # octaves by which the pitch is thrown about
    rough_part: tuple[float, float] = (0.0, 1.0)  # where subharmonics and chaos are heard
    breath: float = 0.0  # amplitude of noise beside a tone
    noise_octaves: float = 1.5  # bandwidth of a noise or breath
    damping_s: float = 0.003  # decay time of a pulse
    modes: tuple[float, ...] = (1.0,)  # resonances of a pulse, relative to the pitch
    rate_hz: float = 0.0  # pulses per second; 0: one continuous sound
    rate_drift: float = 0.0  # octaves by which the rate changes from onset to offset
    rate_jitter: float = 0.0  # of the intervals between pulses, as a fraction
    duty: float = 0.6  # share of each period that sounds
    gate_floor: float = 0.0  # what is left between pulses, as amplitude
    per_pulse: bool = False  # the contour is that of each pulse
    group_hz: float = 0.0  # pulses come in groups at this rate
    group_duty: float = 0.5
    attack: float = 0.1  # fraction of the element
    decay: float = 0.2  # fraction of the element
    swell: float = 0.5  # place of the greatest amplitude
    tilt_db: float = 0.0  # dB per octave above the pitch


@dataclass(frozen=True)
class Family:
    """How one family draws an element, its range of lengths (s) and pitches (Hz), and how common it is."""

    draw: Callable[[np.random.Generator, float, float], Element]
    duration_s: tuple[float, float]
    pitch_hz: tuple[float, float]
    share: float = 1.0

    def has(self, duration_s: float) -> bool:
        """Whether there are calls of this length in it."""
        return self.duration_s[0] <= duration_s <= self.duration_s[1]


def draw_elements(rng: np.random.Generator, family: str, duration_s: float) -> tuple[Element, ...]:
    """The elements of a new type of this family.

    Args:
        duration_s: wanted length of the call; drawn again where the family has no such calls.
    """
    chosen = FAMILIES[family]
    if not chosen.has(duration_s):
        duration_s = log_uniform(rng, *chosen.duration_s)
    if family == "phrase":
        return _phrase(rng, duration_s)
    return (_dressed(rng, chosen.draw(rng, duration_s, log_uniform(rng, *chosen.pitch_hz))),)


def _dressed(rng: np.random.Generator, element: Element) -> Element:
    """The element with an envelope and a tilt of its own."""
    sharp = element.source == "pulses" or chance(rng, 0.25)
    return replace(
        element,
        attack=float(rng.uniform(0.005, 0.04) if sharp else rng.uniform(0.04, 0.5)),
        decay=float(rng.uniform(0.03, 0.6)),
        swell=float(rng.uniform(0, 1)),
        tilt_db=float(rng.normal(0, 2)),
    )


def _phrase(rng: np.random.Generator, duration_s: float) -> tuple[Element, ...]:
    """Two to nine elements of one to four kinds; a motif that comes again, or one after the other."""
    kinds = [name for name in FAMILIES if name != "phrase"]
    count = int(np.clip(round(duration_s / log_uniform(rng, 0.06, 0.8)), 2, 9))
    parts = rng.dirichlet(np.full(count, 3.0)) * duration_s
    gap_share, base_hz = float(rng.uniform(0.05, 0.6)), log_uniform(rng, 300, 7000)
    motif = []
    for _ in range(int(rng.integers(1, min(count, 4) + 1))):
        chosen = FAMILIES[str(rng.choice(kinds))]
        pitch_hz = float(np.clip(base_hz * 2 ** rng.normal(0, 0.5), *chosen.pitch_hz))
        motif.append(_dressed(rng, chosen.draw(rng, 0.3, pitch_hz)))
    elements = []
    for i, part in enumerate(parts):
        element = motif[i % len(motif)]
        # pulses keep their number, whatever the part's length
        rate_hz = element.rate_hz * 0.3 / (part * (1 - gap_share))
        elements.append(replace(
            element,
            duration_s=float(max(0.008, part * (1 - gap_share))),
            gap_s=float(part * gap_share),
            rate_hz=float(min(rate_hz, 300.0)),
            level_db=float(rng.normal(0, 3)),
        ))  # fmt: skip
    return tuple(elements)


def draw_contour(rng: np.random.Generator, most: float) -> tuple[float, ...]:
    """A straight sweep, an arch, or a line through three to six random pitches, up to `most` octaves wide."""
    width = sign(rng) * rng.uniform(0.05, 1) * most
    form = rng.integers(3)
    if form == 0:
        places = np.linspace(-0.5, 0.5, 2)
    elif form == 1:
        u = np.linspace(0, 1, 9)
        top = rng.uniform(0.2, 0.8)
        places = np.where(u < top, u / top, (1 - u) / (1 - top)) ** rng.uniform(0.5, 2) - 0.5
    else:
        places = rng.uniform(-0.5, 0.5, rng.integers(3, 7))
    return tuple(float(width * place) for place in places)


def _partials(rng: np.random.Generator, most: int) -> tuple[float, ...]:
    """Amplitudes that fall with the harmonic's number, with random gaps and resonances."""
    number = np.arange(1, most + 1)
    amplitudes = number ** -rng.uniform(0, 2) * np.exp(rng.normal(0, 0.6, most))
    if chance(rng, 0.25):
        amplitudes[1::2] *= 0.1  # odd harmonics only
    if chance(rng, 0.5):
        amplitudes *= np.exp(-((np.log2(number / rng.uniform(1, most))) ** 2) / rng.uniform(0.2, 1.5))
    return tuple(float(a) for a in amplitudes / amplitudes.max())


def _vibrato(rng: np.random.Generator, element: Element, share: float) -> Element:
    """The element, with a vibrato in this share of the cases."""
    if not chance(rng, share):
        return element
    return replace(element, vibrato_hz=log_uniform(rng, 4, 60), vibrato_octaves=log_uniform(rng, 0.01, 0.25))


def _sweep(rng: np.random.Generator, duration_s: float, pitch_hz: float) -> Element:
    partials = (1.0,) if chance(rng, 0.6) else _partials(rng, 4)
    contour = draw_contour(rng, 1.6)
    return _vibrato(rng, Element("tone", duration_s, pitch_hz, contour=contour, partials=partials), 0.3)


def _ultrasound(rng: np.random.Generator, duration_s: float, pitch_hz: float) -> Element:
    """As an ultrasonic call looks when played slowly: one thin line, with jumps now and then."""
    jumps = chance(rng, 0.3)
    contour = tuple(rng.uniform(-0.3, 0.3, rng.integers(2, 5))) if jumps else draw_contour(rng, 0.7)
    return _vibrato(rng, Element("tone", duration_s, pitch_hz, contour=contour, jumps=jumps), 0.2)


def _two_voices(rng: np.random.Generator, duration_s: float, pitch_hz: float) -> Element:
    element = Element(
        "tone", duration_s, pitch_hz, contour=draw_contour(rng, 1.0), partials=_partials(rng, 6),
        second_voice=float(rng.uniform(0.3, 1)), voice_ratio=float(rng.uniform(1.1, 2.4)),
    )  # fmt: skip
    return _vibrato(rng, element, 0.3)


def _chaos(rng: np.random.Generator, duration_s: float, pitch_hz: float) -> Element:
    first = rng.uniform(0, 0.6)
    return Element(
        "tone", duration_s, pitch_hz, contour=draw_contour(rng, 0.8), partials=_partials(rng, 24),
        subharmonic=float(rng.uniform(0.3, 1)), subharmonic_period=int(rng.integers(2, 4)),
        chaos=float(rng.uniform(0, 0.3)), rough_part=(float(first), float(first + rng.uniform(0.2, 0.6))),
        breath=float(rng.uniform(0, 0.3)),
    )  # fmt: skip


def _stack(rng: np.random.Generator, duration_s: float, pitch_hz: float) -> Element:
    contour, partials = draw_contour(rng, 0.6), _partials(rng, int(rng.integers(5, 32)))
    breath = float(rng.uniform(0, 0.2))
    element = Element("tone", duration_s, pitch_hz, contour=contour, partials=partials, breath=breath)
    return _vibrato(rng, element, 0.3)


def _trill(rng: np.random.Generator, duration_s: float, pitch_hz: float) -> Element:
    rate_hz = max(log_uniform(rng, 4, 80), 2.5 / duration_s)
    return Element(
        "tone", duration_s, pitch_hz, contour=draw_contour(rng, 1.0),
        partials=_partials(rng, int(rng.integers(1, 6))), rate_hz=rate_hz,
        rate_drift=float(rng.normal(0, 0.4)),
        duty=float(rng.uniform(0.3, 0.95)),
        gate_floor=float(rng.choice([0.0, 0.0, 0.3])), per_pulse=chance(rng, 0.7),
    )  # fmt: skip


def _clicks(rng: np.random.Generator, duration_s: float, pitch_hz: float) -> Element:
    return Element(
        "pulses", duration_s, pitch_hz, rate_hz=max(log_uniform(rng, 3, 150), 2.5 / duration_s),
        rate_drift=float(rng.normal(0, 0.7)), rate_jitter=float(rng.uniform(0, 0.2)),
        damping_s=log_uniform(rng, 0.0004, 0.006), modes=(1.0, float(rng.uniform(1.2, 3))),
        breath=float(rng.uniform(0, 0.6)), contour=draw_contour(rng, 0.3),
    )  # fmt: skip


def _knock(rng: np.random.Generator, duration_s: float, pitch_hz: float) -> Element:
    """One damped, noisy knock, or two or three in quick succession."""
    count = int(rng.choice([1, 1, 2, 3]))
    return Element(
        "pulses", duration_s, pitch_hz, rate_hz=(count - 0.5) / duration_s if count > 1 else 0.0,
        rate_jitter=float(rng.uniform(0, 0.3)), damping_s=duration_s / count * float(rng.uniform(0.12, 0.35)),
        modes=(1.0, *(float(m) for m in rng.uniform(1.1, 5, 2))), breath=float(rng.uniform(0.2, 3)),
        noise_octaves=float(rng.uniform(1, 5)),
    )  # fmt: skip


def _stridulation(rng: np.random.Generator, duration_s: float, pitch_hz: float) -> Element:
    """A high carrier in pulses, the pulses in groups, or an even buzz."""
    groups = log_uniform(rng, 1, 15) if chance(rng, 0.6) and duration_s > 0.4 else 0.0
    noisy = chance(rng, 0.4)
    return Element(
        "noise" if noisy else "tone", duration_s, pitch_hz, noise_octaves=float(rng.uniform(0.1, 0.8)),
        rate_hz=max(log_uniform(rng, 15, 200), 4 * groups), duty=float(rng.uniform(0.3, 0.8)),
        gate_floor=float(rng.uniform(0, 0.3)), group_hz=groups, group_duty=float(rng.uniform(0.3, 0.8)),
        contour=(0.0, float(rng.normal(0, 0.05))),
    )  # fmt: skip


def _wings(rng: np.random.Generator, duration_s: float, pitch_hz: float) -> Element:
    """The hum of an insect's wings, or the beats of a bird's."""
    if chance(rng, 0.5):
        hum = Element(
            "tone", duration_s, pitch_hz, contour=draw_contour(rng, 0.4), partials=_partials(rng, 16),
            breath=float(rng.uniform(0, 0.3)),
        )  # fmt: skip
        return _vibrato(rng, hum, 0.4)
    return Element(
        "noise", duration_s, pitch_hz * float(rng.uniform(1, 8)), noise_octaves=float(rng.uniform(1, 4)),
        rate_hz=max(log_uniform(rng, 6, 40), 2.5 / duration_s), rate_drift=float(rng.normal(0, 0.3)),
        rate_jitter=0.05, duty=float(rng.uniform(0.3, 0.7)),
    )  # fmt: skip


def _bark(rng: np.random.Generator, duration_s: float, pitch_hz: float) -> Element:
    u = np.linspace(0, 1, 7)
    arch = tuple(float(o) for o in rng.uniform(0.1, 0.9) * (4 * u * (1 - u) - 0.5))
    return Element(
        "tone", duration_s, pitch_hz, contour=arch, partials=_partials(rng, 24),
        chaos=float(rng.uniform(0, 0.5)), breath=float(rng.uniform(0.1, 1.5)),
        subharmonic=float(rng.choice([0.0, 0.6])),
    )  # fmt: skip


def _rasp(rng: np.random.Generator, duration_s: float, pitch_hz: float) -> Element:
    """A hiss, snort or rasp: a band of noise that may sweep and rattle."""
    rate_hz = log_uniform(rng, 15, 150) if chance(rng, 0.4) else 0.0
    return Element(
        "noise", duration_s, pitch_hz, noise_octaves=float(rng.uniform(0.2, 3)),
        contour=draw_contour(rng, 0.8),
        rate_hz=rate_hz, duty=0.7, gate_floor=0.2,
    )  # fmt: skip


def _jumps(rng: np.random.Generator, duration_s: float, pitch_hz: float) -> Element:
    steps = tuple(float(o) for o in rng.uniform(-0.6, 0.6, rng.integers(2, 7)))
    return Element("tone", duration_s, pitch_hz, contour=steps, jumps=True, partials=_partials(rng, 5))


FAMILIES = {
    "sweep": Family(_sweep, (0.02, 5.0), (250.0, 8500.0), 1.5),
    "ultrasound": Family(_ultrasound, (0.04, 1.5), (2500.0, 9500.0)),
    "two_voices": Family(_two_voices, (0.04, 2.0), (300.0, 5000.0)),
    "chaos": Family(_chaos, (0.08, 5.0), (80.0, 2000.0)),
    "stack": Family(_stack, (0.04, 6.0), (90.0, 2500.0), 1.5),
    "trill": Family(_trill, (0.1, 12.0), (350.0, 8000.0), 1.5),
    "clicks": Family(_clicks, (0.05, 12.0), (400.0, 8500.0)),
    "knock": Family(_knock, (0.01, 0.35), (100.0, 5000.0), 1.5),
    "stridulation": Family(_stridulation, (0.1, 12.0), (1500.0, 10000.0)),
    "wings": Family(_wings, (0.15, 6.0), (100.0, 600.0)),
    "bark": Family(_bark, (0.03, 0.8), (100.0, 2500.0), 1.5),
    "rasp": Family(_rasp, (0.03, 3.0), (300.0, 7000.0)),
    "jumps": Family(_jumps, (0.04, 2.0), (400.0, 7500.0)),
    "phrase": Family(_sweep, (0.25, 15.0), (300.0, 7000.0), 3.0),
}
