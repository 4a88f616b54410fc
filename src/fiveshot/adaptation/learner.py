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
from fiveshot.core.errors import FiveshotError, Problems
from fiveshot.core.normalisation import Normalisation
from fiveshot.data.annotations import EventTable
from fiveshot.data.corpus import Recording
from fiveshot.network.checkpoint import CheckpointInfo, load_network, mark_of
from fiveshot.network.model import FewShotNetwork
from fiveshot.run.folder import Run
from fiveshot.training.loop import changed
from fiveshot.training.replay import Replay, draw_replay, stored_replay
from fiveshot.training.windows import LabelledFile, labelled_files

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
        support = find_support(shots, unknown, file.frame_rate, file.n_frames, config.labels.event_padding_s)
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
        replay: gives the training windows, before the network; called once at most, not at all where no
            method asks for them.
    """
    checkpoint = mark_of(network, info)
    network.to(backend.device)

    @cache
    def low_windows() -> LowWindows:
        return replay_windows(network, info.normalisation, replay(), config, backend)

    return Learner(network, info.normalisation, low_windows, checkpoint, config, backend)


def load_learner(
    run: Run, train: tuple[Recording, ...], config: Config, backend: Backend, strict: bool
) -> tuple[Learner, Problems]:
    """The learner of the run's best checkpoint.

    What it replays lies beside the checkpoint. Where it does not, as in runs of earlier versions, or belongs
    to other settings, it is drawn again from the features of the training recordings.

    Args:
        train: the training recordings; none where the windows beside the checkpoint are to be enough.
        strict: stop at the first training recording that cannot be read.

    Returns:
        The learner, and the training recordings that were left out.

    Raises:
        FiveshotError: no checkpoint, or one of other features, network or classes; no training windows.
    """
    network, info = load_network(run.best, config)
    try:
        replay = stored_replay(run.best, info, config)
    except FiveshotError as error:
        if not train:
            raise
        log.info("training windows are drawn again from the training features: %s", error)
    else:
        _log_differences(info, None, config)
        return make_learner(network, info, replay, config, backend), Problems(strict)
    files, classes, problems = labelled_files(run, config, train, strict)
    if info.classes != classes:
        raise FiveshotError(
            f"{run.best}: trained on {len(info.classes)} classes, not on the {len(classes)} of this corpus; "
            "use the corpus it was trained on, or train again."
        )
    _log_differences(info, files, config)
    return make_learner(network, info, lambda: draw_replay(files, config), config, backend), problems


def _log_differences(info: CheckpointInfo, files: list[LabelledFile] | None, config: Config) -> None:
    different = changed(info, files, config)
    if different:
        log.info("note: the checkpoint was trained differently: %s", "; ".join(different))


def replay_windows(
    network: FewShotNetwork, normalisation: Normalisation, replay: Replay, config: Config, backend: Backend
) -> LowWindows:
    """The training windows that the SED branch keeps learning from, after the frozen blocks."""
    settings = config.finetune.sed
    features, labels = replay.normalised(normalisation), replay.labels
    # Only frames of a class count, unless the others are to be background; batch statistics need all.
    counted = labels > 0 if config.finetune.negatives.training_weight == 0 else labels >= 0
    asked = None if settings.batch_norm == "adapting" else counted
    return pass_frozen(network, features, labels, backend, asked, settings.replay.precision == "float16")
