"""Every knob of the scene generator."""

from __future__ import annotations

from dataclasses import dataclass, field

from fiveshot.core.errors import FiveshotError
from fiveshot.data.synthetic.backgrounds import TEXTURES
from fiveshot.data.synthetic.families import FAMILIES
from fiveshot.data.synthetic.recorder import RecorderChances


@dataclass(frozen=True)
class SceneSettings:
    """Every knob of the generator.

    Attributes:
        types: bank of call types that targets and most distractors are drawn from.
        sample_rate: of the sound (Hz).
        query_s: length of the query part.
        support_s: range of the length of the support part, which ends with the fifth shot.
        support_longest_s: to which the support grows where five long calls need it.
        snr_db: range of the level of calls above the background, in the call's own band.
        families: of calls; empty: all of them (`families.FAMILIES`).
        looseness: range from which types draw how far their renditions differ; 0: exact copies, 1: loosest.
        individuals: fewest and most individuals of each type in a scene.
        rate_per_min: range of the target's calls per minute, drawn for support and query separately.
        empty_query: probability of a query without any target.
        chains: probability that a type calls in bouts with short gaps or none.
        songs: probability that a short target is one syllable of a song: other types of the bank stand right
            before and after it, in a fixed order.
        bank_types: fewest and most other types of the bank in a scene.
        bank_rate_per_min: range of the calls per minute of each.
        relatives: mean number of almost equal types in a scene.
        strangers: mean number of types from outside the bank.
        far: probability that the target's type is also heard from far away.
        far_db: how much quieter it is there.
        overlap: probability that a call may overlap one of another type.
        layers: fewest and most textures of a background.
        textures: names of the textures to choose from; empty: all.
        another_place: probability that background and level change at the end of the support.
        more_places: how often they change again in the query of such a scene, on average.
        recorder: how often a recording is reverberated, clipped and so on.
        audible_db: range from which an annotator's limit is drawn: fainter calls are not known;
            short and noisy ones need a few dB more (`annotator.hearing_db`).
        slack_s: range of what is marked before and after a call.
        fill: probability that the annotator marks a series of calls as one event.
    """

    types: int = 2000
    sample_rate: int = 22050
    query_s: float = 30.0
    support_s: tuple[float, float] = (8.0, 30.0)
    support_longest_s: float = 60.0
    snr_db: tuple[float, float] = (-10.0, 30.0)
    families: tuple[str, ...] = ()
    looseness: tuple[float, float] = (0.0, 1.0)
    individuals: tuple[int, int] = (1, 4)
    rate_per_min: tuple[float, float] = (2.0, 120.0)
    empty_query: float = 0.15
    chains: float = 0.35
    songs: float = 0.5
    bank_types: tuple[int, int] = (2, 6)
    bank_rate_per_min: tuple[float, float] = (4.0, 40.0)
    relatives: float = 0.6
    strangers: float = 0.3
    far: float = 0.25
    far_db: tuple[float, float] = (5.0, 15.0)
    overlap: float = 0.08
    layers: tuple[int, int] = (1, 4)
    textures: tuple[str, ...] = ()
    another_place: float = 0.4
    more_places: float = 1.5
    recorder: RecorderChances = field(default_factory=RecorderChances)
    audible_db: tuple[float, float] = (-6.0, 0.0)
    slack_s: tuple[float, float] = (0.002, 0.3)
    fill: float = 0.2

    def __post_init__(self) -> None:
        least = self.bank_types[1] + 1
        if self.types < least:
            raise FiveshotError(f"scenes: types must be at least {least}, one more than bank_types.")
        if not (self.query_s > 0 and 0 < self.support_s[0] <= self.support_s[1]):
            raise FiveshotError("scenes: query_s and support_s must be above 0, support_s in order.")
        for key, names, known in (
            ("families", self.families, FAMILIES),
            ("textures", self.textures, TEXTURES),
        ):
            if not set(names) <= set(known):
                raise FiveshotError(f"scenes: {key} must be among {', '.join(known)}.")
