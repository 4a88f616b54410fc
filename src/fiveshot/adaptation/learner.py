"""A trained network with all that adapting it to recordings takes."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import numpy as np

from fiveshot.adaptation.episode import Episode, with_mined_gaps
from fiveshot.adaptation.frozen import LowWindows, pass_frozen
from fiveshot.adaptation.inference import NormalisedFeatures
from fiveshot.adaptation.support import check_shots, find_support
from fiveshot.core.compute import Backend, seed_of
from fiveshot.core.config import Config
from fiveshot.core.errors import FiveshotError
from fiveshot.core.normalisation import Normalisation
from fiveshot.data.annotations import shots_of
from fiveshot.data.corpus import Recording
from fiveshot.data.feature_files import FeatureFile
from fiveshot.network.checkpoint import load_network, mark_of
from fiveshot.network.model import FewShotNetwork
from fiveshot.run.folder import Run
from fiveshot.training.loop import changed
from fiveshot.training.replay import class_crops
from fiveshot.training.windows import LabelledFile, list_windows, window_set

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

    def episode(self, recording: Recording, file: FeatureFile) -> Episode:
        """The episode of a recording, seeded by its subset and name alone, so that order does not matter.

        Raises:
            FiveshotError: fewer shots than configured, or one outside of the recording.
        """
        config = self.config
        shots = shots_of(recording.events, recording.csv, config.shots)
        unknown, widen_s = recording.events.unknown(), config.labels.widen_s
        support = find_support(shots, unknown, file.frame_rate, file.n_frames, widen_s)
        check_shots(support, str(recording.csv))
        return with_mined_gaps(
            Episode(
                features=NormalisedFeatures(file, self.normalisation),
                support=support,
                config=config,
                backend=self.backend,
                network=self.network,
                replay=self.replay,
                seed=seed_of(config.seed, recording.subset, recording.name),
            )
        )


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
    checkpoint = mark_of(network, info)
    different = changed(info, files, config)
    if different:
        log.info("note: the checkpoint was trained differently: %s", "; ".join(different))
    network.to(backend.device)

    @cache  # once for all recordings, and not at all where no method asks for them
    def replay() -> LowWindows:
        return replay_windows(network, info.normalisation, files, config, backend)

    return Learner(network, info.normalisation, replay, checkpoint, config, backend)


def replay_windows(
    network: FewShotNetwork,
    normalisation: Normalisation,
    files: list[LabelledFile],
    config: Config,
    backend: Backend,
) -> LowWindows:
    """The training windows that the SED branch keeps learning from, after the frozen blocks."""
    settings = config.finetune.sed
    windows = window_set(list_windows(files, config))
    rng = np.random.default_rng(seed_of(config.seed, "training windows"))
    per_class, frames = settings.training_windows_per_class, settings.training_frames
    features, labels = class_crops(files, windows, per_class, frames, normalisation, config, rng)
    # Only frames of a class count, unless the others are to be background; batch statistics need all.
    asked = labels > 0 if settings.negative_weight == 0 else labels >= 0
    asked = None if settings.batch_norm == "adapting" else asked
    return pass_frozen(network, features, labels, backend, asked, settings.training_precision == "float16")
