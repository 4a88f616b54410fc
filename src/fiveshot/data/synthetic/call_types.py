"""Invented types of call: what every call of a type has in common, and how far two of its calls may differ.

A `CallType` is a phrase of one or more `Element`s, each a sound of one of the families in `families`. It is
drawn from a seed and a number: a bank of any size needs no storage. How far renditions of a type differ is
itself drawn, from exact copies to calls that share little more than their family. An individual differs from
others by a `Variation` that is constant, and every rendition adds a smaller or larger one of its own.

Pitch, length and rhythm vary in octaves (factors of two), sweeps by a factor, timbre in dB per octave.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from fiveshot.data.synthetic.draws import chance, log_uniform, rng_for, sign
from fiveshot.data.synthetic.families import FAMILIES, Element, draw_elements

NO_NUMBER = -1  # of a type outside the bank
EXACT_SHARE = 0.2  # of the types whose renditions are exact copies
COMMON_SHARE = 0.8  # of the types whose length is in COMMON_S
COMMON_S, ALL_S = (0.02, 2.5), (0.01, 15.0)
# What the loosest types reach, as standard deviations.
LOOSEST = {"length": 0.35, "pitch": 0.16, "sweep": 0.45, "rhythm": 0.3, "timbre": 3.0}
FREE_ABOVE = 0.3  # looseness from which renditions may have contours and numbers of elements of their own
CLIP = 2.0  # standard deviations: no rendition lies further out
# How far a relative lies from its type (octaves), at least.
RELATIVE_OCTAVES = {"pitch": (0.25, 0.8), "length": (0.5, 1.3), "rhythm": (0.4, 1.1)}


@dataclass(frozen=True)
class Variation:
    """Offsets of one individual or rendition from its type; as a spread, their standard deviations."""

    length: float = 0.0  # octaves
    pitch: float = 0.0  # octaves
    sweep: float = 0.0  # natural logarithm of a factor
    rhythm: float = 0.0  # octaves
    timbre: float = 0.0  # dB per octave

    def values(self) -> tuple[float, float, float, float, float]:
        """All five numbers in order."""
        return self.length, self.pitch, self.sweep, self.rhythm, self.timbre

    def __add__(self, other: Variation) -> Variation:
        return Variation(*(a + b for a, b in zip(self.values(), other.values(), strict=True)))

    def draw(self, rng: np.random.Generator) -> Variation:
        """Offsets drawn with these standard deviations, within twice of them."""
        normal = np.clip(rng.standard_normal(5), -CLIP, CLIP).tolist()
        return Variation(*(z * std for z, std in zip(normal, self.values(), strict=True)))


@dataclass(frozen=True)
class CallType:
    """A type of call.

    Attributes:
        number: in the bank; -1 outside it.
        family: of its first element, or "phrase".
        elements: one after the other, each followed by its own gap.
        looseness: 0 (exact copies) to 1 (the loosest); what `spread` was drawn from.
        spread: standard deviations of the renditions of one individual.
        individual_spread: standard deviations between individuals.
        free_contour: how far each rendition takes a contour of its own, 0 (the type's) to 1 (any).
        free_count: standard deviation of the number of a phrase's elements, natural logarithm of a factor.
    """

    number: int
    family: str
    elements: tuple[Element, ...]
    looseness: float
    spread: Variation
    individual_spread: Variation
    free_contour: float = 0.0
    free_count: float = 0.0

    @property
    def duration_s(self) -> float:
        """The length of a call without variation."""
        return sum(e.duration_s + e.gap_s for e in self.elements) - self.elements[-1].gap_s

    @property
    def noise_share(self) -> float:
        """How much of the call is noise, 0 to 1."""
        return sum(e.source == "noise" or e.breath > 0.7 for e in self.elements) / len(self.elements)

    def individual(self, rng: np.random.Generator) -> Variation:
        """The constant offsets of one individual."""
        return self.individual_spread.draw(rng)


def call_type(
    seed: int, number: int, looseness: tuple[float, float] = (0.0, 1.0), families: tuple[str, ...] = ()
) -> CallType:
    """The type of this number in the bank of a seed.

    Args:
        seed: of the bank.
        number: any number from 0.
        looseness: the range from which it is drawn how far renditions differ; a fifth of the types takes its
            lower end.
        families: to draw from; empty: all.
    """
    return draw_type(rng_for(seed, "type", str(number)), number, looseness, families)


def draw_type(
    rng: np.random.Generator,
    number: int = NO_NUMBER,
    looseness: tuple[float, float] = (0.0, 1.0),
    families: tuple[str, ...] = (),
) -> CallType:
    """A type drawn from `rng`; by default a stranger outside the bank."""
    names = families or tuple(FAMILIES)
    duration_s = log_uniform(rng, *(COMMON_S if chance(rng, COMMON_SHARE) else ALL_S))
    # the length first, then a family that has such calls: short ones are as common as they are asked for
    fitting = [name for name in names if FAMILIES[name].has(duration_s)] or names
    shares = np.array([FAMILIES[name].share for name in fitting])
    family = str(rng.choice(fitting, p=shares / shares.sum()))
    elements = draw_elements(rng, family, duration_s)
    low, high = looseness
    drawn = low if chance(rng, EXACT_SHARE) else float(low + (high - low) * rng.random() ** 1.5)
    spread = Variation(**{name: drawn * most * rng.uniform(0.2, 1) for name, most in LOOSEST.items()})
    apart = rng.uniform(0, 0.7) * min(1.0, 3 * drawn)
    individuals = Variation(**{name: apart * most * rng.uniform(0.2, 1) for name, most in LOOSEST.items()})
    varied = max(0.0, drawn - FREE_ABOVE) / (1 - FREE_ABOVE)
    free_contour, free_count = rng.uniform(0, 1, 2) * np.array([1.0, 0.5]) * varied * chance(rng, 0.6)
    free = (float(free_contour), float(free_count))
    return CallType(number, family, elements, drawn, spread, individuals, *free)


def relative(original: CallType, rng: np.random.Generator) -> CallType:
    """An almost equal type: the same elements at another pitch, of another length, or at another pace.

    The difference is drawn from RELATIVE_OCTAVES and is never below twice the type's own spread.

    Returns:
        A type without a number. Now and then two of the three differ.
    """
    paced = len(original.elements) > 1 or any(e.rate_hz for e in original.elements)
    names = ["pitch", "length", *(["rhythm"] if paced else [])]
    changed = rng.permutation(names)[: 1 + chance(rng, 0.25)]
    offsets = {}
    for name in changed:
        least = 2 * getattr(original.spread, name)
        offsets[name] = sign(rng) * max(rng.uniform(*RELATIVE_OCTAVES[name]), least)
    elements = tuple(shift(element, Variation(**offsets)) for element in original.elements)
    return replace(original, number=NO_NUMBER, elements=elements)


def shift(element: Element, by: Variation, **changes: Any) -> Element:
    """The element with these offsets; its rhythm is that of its pulses and of the gap after it.

    Args:
        changes: fields with new values; a contour is taken before the offsets.
    """
    contour = changes.pop("contour", element.contour)
    return replace(
        element,
        duration_s=element.duration_s * 2**by.length,
        gap_s=element.gap_s * 2 ** (by.length - by.rhythm),
        pitch_hz=element.pitch_hz * 2**by.pitch,
        contour=tuple(octaves * float(np.exp(by.sweep)) for octaves in contour),
        rate_hz=element.rate_hz * 2**by.rhythm,
        vibrato_hz=element.vibrato_hz * 2 ** (0.5 * by.rhythm),
        tilt_db=element.tilt_db + by.timbre,
        **changes,
    )
