"""A trained network with all that adapting it to recordings takes."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

from fiveshot.adaptation.episode import Episode, with_mined_gaps
from fiveshot.adaptation.frozen import LowWindows, pass_frozen
from fiveshot.adaptation.inference import NormalisedFeatures
from fiveshot.adaptation.joined import FrameReader
from fiveshot.adaptation.support import Support, check_shots, find_support
from fiveshot.core.compute import Backend, seed_of
from fiveshot.core.config import Config
from fiveshot.core.errors import FiveshotError
from fiveshot.core.normalisation import Normalisation
from fiveshot.data.annotations import EventTable
from fiveshot.network.checkpoint import CheckpointInfo, load_network, mark_of
from fiveshot.network.model import FewShotNetwork
from fiveshot.run.folder import Run
from fiveshot.training.loop import changed
from fiveshot.training.replay import Replay, draw_replay
from fiveshot.training.windows import LabelledFile

log = logging.getLogger("fiveshot")


@dataclass(frozen=True)
class Learner:
    """What is the same for all recordings: it makes an episode of each.

    Attributes:
        network: as trained, on the backend's device, in evaluation mode.
        normalisation: of the features that it was trained on.
        replay: gives the training windows that methods go on learning from, after the frozen blocks.
        checkpoint: fingerprint of what the network computes.
    """

    network: FewShotNetwork
    normalisation: Normalisation
    replay: Callable[[], LowWindows]
    checkpoint: str
    config: Config
    backend: Backend

    def episode(
        self, file: FrameReader, shots: EventTable, unknown: EventTable, subset: str, name: str, source: str
    ) -> Episode:
        """The episode of one recording.

        Args:
            file: its features, or anything that is read as a feature file is.
            shots, unknown: its first POS events, and its UNK events.
            subset, name: all draws follow from them and the seed, so that the order of recordings is nothing.
            source: where the shots come from, for messages.

        Raises:
            FiveshotError: a shot lies outside of the recording.
        """
        config = self.config
        support = find_support(shots, unknown, file.frame_rate, file.n_frames, config.labels.widen_s)
        return self.episode_of(file, support, subset, name, source)

    def episode_of(self, file: FrameReader, support: Support, subset: str, name: str, source: str) -> Episode:
        """The same of a support that is known in frames."""
        config = self.config
        check_shots(support, source)
        return with_mined_gaps(
            Episode(
                features=NormalisedFeatures(file, self.normalisation),
                support=support,
                config=config,
                backend=self.backend,
                network=self.network,
                replay=self.replay,
                seed=seed_of(config.seed, subset, name),
            )
        )


def make_learner(
    network: FewShotNetwork,
    info: CheckpointInfo,
    replay: Callable[[], Replay],
    config: Config,
    backend: Backend,
) -> Learner:
    """The learner of a checkpoint.

    Args:
        network, info: as loaded.
        replay: gives the training windows, before the network; called once, and not at all where no method
            asks for them.
    """
    checkpoint = mark_of(network, info)
    network.to(backend.device)

    @cache
    def low_windows() -> LowWindows:
        return replay_windows(network, info.normalisation, replay(), config, backend)

    return Learner(network, info.normalisation, low_windows, checkpoint, config, backend)


def load_learner(
    run: Run, files: list[LabelledFile], classes: list[str], config: Config, backend: Backend
) -> Learner:
    """The learner of the run's best checkpoint.

    Raises:
        FiveshotError: no checkpoint, or one of other features, network or classes.
    """
    network, info = load_network(run.best, config)
    if info.classes != classes:
        raise FiveshotError(
            f"{run.best}: trained on {len(info.classes)} classes, not on the {len(classes)} of this corpus; "
            "use the corpus it was trained on, or train again."
        )
    different = changed(info, files, config)
    if different:
        log.info("note: the checkpoint was trained differently: %s", "; ".join(different))
    return make_learner(network, info, lambda: draw_replay(files, config), config, backend)


def replay_windows(
    network: FewShotNetwork, normalisation: Normalisation, replay: Replay, config: Config, backend: Backend
) -> LowWindows:
    """The training windows that the SED branch keeps learning from, after the frozen blocks."""
    settings = config.finetune.sed
    features, labels = replay.normalised(normalisation), replay.labels
    # Only frames of a class count, unless the others are to be background; batch statistics need all.
    counted = labels > 0 if settings.negative_weight == 0 else labels >= 0
    asked = None if settings.batch_norm == "adapting" else counted
    return pass_frozen(network, features, labels, backend, asked, settings.training_precision == "float16")
