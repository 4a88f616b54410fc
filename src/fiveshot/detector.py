"""One recording and its shots in, events out: the network of a run, called from Python.

    detector = Detector.load("runs/cpu")
    events = detector.score("meadow.wav", [(1.2, 1.6), (3.0, 3.4), ...]).detect()

The same mathematics as the finetune stage, without a corpus: what fine-tuning replays from training lies
beside the checkpoint.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from fiveshot.adaptation.learner import Learner, make_learner
from fiveshot.adaptation.method import score_episode
from fiveshot.core.compute import choose_backend
from fiveshot.core.config import Config, build_config, load_saved_config, merge_settings
from fiveshot.core.config import load_config as _load_config
from fiveshot.core.errors import FiveshotError
from fiveshot.core.places import base_config, shipped_config
from fiveshot.data.annotations import EventTable
from fiveshot.data.audio import read_blocks, resampled
from fiveshot.data.events import Events
from fiveshot.data.feature_files import check_finite
from fiveshot.data.features import feature_blocks
from fiveshot.detection.frame_scores import FrameScores
from fiveshot.detection.postprocess import detect
from fiveshot.network.checkpoint import load_network
from fiveshot.run.folder import Run
from fiveshot.training.replay import read_replay


def load_config(override: str | Path | None = None, settings: Sequence[str] = ()) -> Config:
    """The settings of config.yaml with a file and single settings laid over it.

    Args:
        override: a file, or the name of a shipped one such as `cpu`.
        settings: `key.sub=value` each.

    Returns:
        The resolved settings.

    Raises:
        FiveshotError: an unreadable file, an unknown key, an impossible value.

    Example:
        >>> load_config("cpu", ["seed=7"]).seed
        7
    """
    return _load_config(base_config(), shipped_config(override) if override else None, list(settings))


@dataclass(frozen=True)
class FeatureArray:
    """The features of one recording in memory, read as a feature file is.

    Attributes:
        values: (channels, frames, mels) float16, as feature files hold them.
        frame_rate: frames in a second.
    """

    values: np.ndarray
    frame_rate: float

    @property
    def n_frames(self) -> int:
        return self.values.shape[1]

    def frames(self, first: int = 0, end: int | None = None) -> np.ndarray:
        """Frames from `first` to `end`: (channels, frames, mels) float32."""
        return self.values[:, first:end].astype(np.float32)


@dataclass(frozen=True)
class Scores:
    """P(POS) of every frame of a recording, and what turns it into events.

    Attributes:
        frame_scores: P(POS) of each method per frame, confidence levels, similarity to the shots.
        config: settings, of which `detect` makes events.
    """

    frame_scores: FrameScores
    config: Config

    def detect(self, settings: Sequence[str] = ()) -> Events:
        """The events of the query, in time order.

        Args:
            settings: `detect.key=value` each, in place of the run's.

        Returns:
            Events with the mean P(POS) as confidence.
        """
        config = self.config
        if settings:
            values = config.model_dump(mode="json")
            config = _with_settings(values, settings)
        rows = detect(self.frame_scores, config.detect)
        pairs = [(row.onset_s, row.offset_s) for row in rows]
        return Events.from_pairs(pairs, [row.confidence for row in rows])


def _with_settings(values: dict, settings: Sequence[str]) -> Config:
    wrong = [text for text in settings if not text.startswith("detect.")]
    if wrong:
        raise FiveshotError(f"{wrong[0]}: only detect.* can change after the scores are computed.")
    return build_config(merge_settings(values, settings), "detect()")


@dataclass(frozen=True)
class Detector:
    """A trained network with all that adapting it to a recording needs.

    Example:
        >>> detector = Detector.load("runs/cpu")  # doctest: +SKIP
        >>> detector.score("meadow.wav", Events.read_csv("meadow.csv").first(5)).detect()  # doctest: +SKIP
    """

    learner: Learner

    @property
    def config(self) -> Config:
        """All settings."""
        return self.learner.config

    @classmethod
    def load(cls, run: str | Path, settings: Sequence[str] = ()) -> Detector:
        """The detector of a trained run.

        Args:
            run: its folder, with config.yaml and checkpoints/.
            settings: `key.sub=value` each, in place of the run's.

        Raises:
            FiveshotError: the run was not trained, or its files are damaged or do not fit together.
        """
        files = Run(Path(run))
        if not files.config.is_file():
            raise FiveshotError(f"{run}: not a run, as it has no config.yaml; train one first.")
        config = load_saved_config(files.config, settings)
        backend = choose_backend(config.compute)
        network, info = load_network(files.best, config)
        replay = read_replay(files.best, info, config)
        return cls(make_learner(network, info, lambda: replay, config, backend))

    def score(
        self,
        audio: str | Path | np.ndarray,
        shots: Events | Sequence[Sequence[float]],
        sample_rate: int | None = None,
        name: str = "",
        subset: str = "",
        progress: Callable[[int], Any] | None = None,
    ) -> Scores:
        """Adapt to one recording on its shots and predict every frame.

        Args:
            audio: a file, or samples (samples,) or (samples, channels) in full scale -1 to 1.
            shots: events of the target at the start of the recording; the query begins after the last one.
            sample_rate: of the samples, in Hz; for a file it is read from it.
            name: of the recording; the stem of the file where it is empty.
            subset: of the corpus; with name and subset all draws are those of the finetune stage.
            progress: called with 1 after each step.

        Returns:
            P(POS) of every frame; `detect()` of it makes events.

        Raises:
            FiveshotError: unreadable audio, or shots that are outside of it.
        """
        marked = shots if isinstance(shots, Events) else Events.from_pairs(shots)
        source, blocks = self._waveform(audio, sample_rate)
        features = _features(source, blocks, self.config)
        table = self._table(source, features, marked)
        episode = self.learner.episode(
            features, table, table.unknown(), subset, name or Path(source).stem, source
        )
        names = self.config.detect.methods
        scores = score_episode(names, episode, source, marked.as_array(), progress or (lambda _: None))
        return Scores(scores, self.config)

    def _waveform(
        self, audio: str | Path | np.ndarray, sample_rate: int | None
    ) -> tuple[str, Iterable[np.ndarray]]:
        """The name of the audio and its mono blocks at the sample rate of the features."""
        rate = self.config.features.sample_rate
        if not isinstance(audio, np.ndarray):
            return Path(audio).name, read_blocks(Path(audio), rate)
        if sample_rate is None:
            raise FiveshotError("score: pass sample_rate=... in Hz with an array of samples.")
        mono = audio if audio.ndim == 1 else audio.mean(axis=1)
        mono = mono.astype(np.float32)
        if not len(mono) or not np.isfinite(mono).all():
            raise FiveshotError("score: the array has no samples, or some are not finite numbers.")
        return "array", [mono] if sample_rate == rate else resampled(iter([mono]), sample_rate, rate)

    def _table(self, name: str, features: FeatureArray, shots: Events) -> EventTable:
        if not len(shots):
            raise FiveshotError(f"{name}: no shots; mark at least one event.")
        duration_s = features.n_frames / features.frame_rate
        if shots.onset_s[-1] >= duration_s:
            raise FiveshotError(
                f"{name}: a shot begins at {shots.onset_s[-1]:.3f} s, after the end of the audio "
                f"({duration_s:.3f} s)."
            )
        text = np.full(len(shots), "POS", object)
        return EventTable(shots.onset_s, shots.offset_s, text, text, name)


def _features(name: str, blocks: Iterable[np.ndarray], config: Config) -> FeatureArray:
    parts: dict[str, list[np.ndarray]] = {kind: [] for kind in config.features.channels}
    for block in feature_blocks(blocks, config.features):
        for kind, values in block.items():
            check_finite(values, name)
            parts[kind].append(values.astype(np.float16))  # as feature files hold them
    values = np.stack([np.concatenate(part) for part in parts.values()])
    return FeatureArray(values, config.features.frame_rate)
