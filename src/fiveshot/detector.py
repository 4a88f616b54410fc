"""One recording and its shots in, events out: a trained network, called from Python.

    detector = Detector.load("runs/cpu")
    events = detector.score("meadow.wav", [(1.2, 1.6), (3.0, 3.4), ...]).detect()

The same mathematics as the finetune stage, without a corpus: what fine-tuning replays from training lies
beside the checkpoint.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from fiveshot.adaptation.joined import FrameReader, make_task
from fiveshot.adaptation.learner import Learner, make_learner
from fiveshot.adaptation.method import score_episode
from fiveshot.core.compute import choose_backend
from fiveshot.core.config import Config, build_config, load_saved_config, merge_settings
from fiveshot.core.config import load_config as _load_config
from fiveshot.core.errors import FiveshotError, Problem, log_warnings
from fiveshot.core.places import base_config, shipped_checkpoint, shipped_config
from fiveshot.data.annotations import EventTable
from fiveshot.data.audio import read_blocks, resampled
from fiveshot.data.events import Events
from fiveshot.data.feature_files import feature_array
from fiveshot.data.features import feature_blocks
from fiveshot.detection.frame_scores import FrameScores
from fiveshot.detection.postprocess import detect, fuse, threshold
from fiveshot.network.checkpoint import load_network
from fiveshot.run.folder import Run
from fiveshot.training.replay import stored_replay


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
        name: of the audio, for messages.
    """

    values: np.ndarray
    frame_rate: float
    name: str = ""

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
            Events with the mean P(POS), on the scale of `detect.scale`, as confidence.
        """
        scores, config = self.frame_scores, self.config
        if settings:
            config = _with_settings(config.model_dump(mode="json"), settings)
        before_s = scores.before_frames / scores.frame_rate
        rows = detect(scores, config.detect)
        pairs = [(max(row.onset_s - before_s, 0.0), row.offset_s - before_s) for row in rows]
        return Events.from_pairs(pairs, [row.confidence for row in rows])

    def threshold(self, settings: Sequence[str] = ()) -> float:
        """The P(POS), on the scale of `detect.scale`, above which a frame is part of an event."""
        config = _with_settings(self.config.model_dump(mode="json"), settings)
        return threshold(fuse(self.frame_scores, config.detect)[1], config.detect)

    def probability(self) -> np.ndarray:
        """The mean P(POS) of the methods, on the scale of `detect.scale`: (n_frames,) of the recording."""
        return fuse(self.frame_scores, self.config.detect)[0][self.frame_scores.before_frames :]


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
    def load(cls, run: str | Path | None = None, settings: Sequence[str] = ()) -> Detector:
        """The detector of a trained run.

        Args:
            run: its folder, with config.yaml and checkpoints/, or a checkpoint in it; None: the model that
                comes with the package.
            settings: `key.sub=value` each, in place of the run's.

        Raises:
            FiveshotError: the run was not trained, or its files are damaged or do not fit together.
        """
        folder = Path(run) if run is not None else shipped_checkpoint()
        files = Run(folder)
        if folder.is_file():
            files = Run(folder.parent.parent, checkpoint=folder)
        if not files.config.is_file():
            raise FiveshotError(
                f"{folder}: not a run, as it has no config.yaml; name one that was trained (--checkpoint)."
            )
        config = load_saved_config(files.config, settings)
        backend = choose_backend(config.compute)
        network, info = load_network(files.best, config)
        replay = stored_replay(files.best, info, config)
        return cls(make_learner(network, info, replay, config, backend))

    def score(
        self,
        audio: str | Path | np.ndarray | FrameReader,
        shots: Events | Sequence[Sequence[float]],
        sample_rate: int | None = None,
        name: str | None = None,
        subset: str = "",
        progress: Callable[[int], Any] | None = None,
        shots_audio: str | Path | np.ndarray | FrameReader | None = None,
        shots_sample_rate: int | None = None,
        reviewed: Sequence[tuple[FrameReader, Events]] = (),
    ) -> Scores:
        """Adapt to one recording on its shots and predict every frame.

        Args:
            audio: a file, samples (samples,) or (samples, channels) in full scale -1 to 1, or what
                `features` gave.
            shots: events of the target at the start of the recording, of which those marked UNK are neither
                shots nor background; the query begins after the last one.
            sample_rate: of the samples, in Hz; for a file it is read from it.
            name: of the recording; the stem of the file where it is None.
            subset: of the corpus; with name and subset all draws are those of the finetune stage.
            progress: called with 1 after each step.
            shots_audio: the recording that the shots are in, as `audio`; None: this one. With another, all of
                the recording is searched.
            shots_sample_rate: of its samples.
            reviewed: features and their reviewed events: POS are further shots, NEG further background.

        Returns:
            P(POS) of every frame; `detect()` of it makes events.

        Raises:
            FiveshotError: unreadable audio, or shots that are outside of it.
        """
        marked = shots if isinstance(shots, Events) else Events.from_pairs(shots)
        features, source = self.features(audio, sample_rate), _name(audio)
        elsewhere = None if shots_audio is None else self.features(shots_audio, shots_sample_rate)
        table = _table(source if elsewhere is None else _name(shots_audio), elsewhere or features, marked)
        padding_s = self.config.labels.event_padding_s
        task = make_task(features, table.positive(), table.unknown(), padding_s, elsewhere, list(reviewed))
        stem = Path(source).stem if name is None else name
        episode = self.learner.episode_of(task.features, task.support, subset, stem, source)
        names = self.config.detect.methods
        scores = score_episode(names, episode, source, task.shots_s, progress or (lambda _: None))
        scores = replace(scores, before_frames=task.before_frames)
        return Scores(scores, self.config)

    def features(
        self, audio: str | Path | np.ndarray | FrameReader, sample_rate: int | None = None
    ) -> FrameReader:
        """The features of a recording, in memory.

        Args:
            audio: a file, or samples (samples,) or (samples, channels) in full scale -1 to 1; features are
                handed back as they are.
            sample_rate: of the samples, in Hz.

        Raises:
            FiveshotError: unreadable audio.
        """
        rate, channel = self.config.features.sample_rate, self.config.audio.channel
        if isinstance(audio, (str, Path)):
            faults: list[str] = []
            blocks = read_blocks(Path(audio), rate, channel=channel, faults=faults)
            features = _features(Path(audio).name, blocks, self.config)
            log_warnings(Problem(Path(audio), fault) for fault in faults)
            return features
        if not isinstance(audio, np.ndarray):
            return audio
        if sample_rate is None:
            raise FiveshotError("score: pass sample_rate=... in Hz with an array of samples.")
        mono = (audio if audio.ndim == 1 else _one_channel(audio, channel)).astype(np.float32)
        if not len(mono) or not np.isfinite(mono).all():
            raise FiveshotError("score: the array has no samples, or some are not finite numbers.")
        blocks = [mono] if sample_rate == rate else resampled(iter([mono]), sample_rate, rate)
        return _features("array", blocks, self.config)


def _one_channel(audio: np.ndarray, channel: int | str) -> np.ndarray:
    if channel == "mean":
        return audio.mean(axis=1)
    if int(channel) > audio.shape[1]:
        raise FiveshotError(f"score: {audio.shape[1]} channels, and audio.channel is {channel}; set another.")
    return audio[:, int(channel) - 1]


def _name(audio: str | Path | np.ndarray | FrameReader) -> str:
    if isinstance(audio, (str, Path)):
        return Path(audio).name
    return getattr(audio, "name", "") or "array"


def _table(name: str, features: FrameReader, shots: Events) -> EventTable:
    positive = shots.onset_s[shots.value == "POS"]
    if not len(positive):
        raise FiveshotError(f"{name}: no shots; mark at least one event.")
    duration_s = features.n_frames / features.frame_rate
    if positive[-1] >= duration_s:
        raise FiveshotError(
            f"{name}: a shot begins at {positive[-1]:.3f} s, after the end of the audio ({duration_s:.3f} s)."
        )
    return EventTable(shots.onset_s, shots.offset_s, shots.value, shots.value, name)


def _features(name: str, blocks: Iterable[np.ndarray], config: Config) -> FeatureArray:
    values = feature_array(feature_blocks(blocks, config.features), config.features, name)
    return FeatureArray(values, config.features.frame_rate, name)
