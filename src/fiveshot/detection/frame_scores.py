"""P(POS) of every frame of a recording: what adaptation leaves and detection reads, in memory and on disk."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np

from fiveshot.core.frames import event_frames
from fiveshot.core.hdf5 import new_hdf5, open_hdf5, read_attribute, write_array, write_attribute
from fiveshot.core.provenance import Provenance
from fiveshot.data.corpus import Recording
from fiveshot.run.folder import Run


@dataclass(frozen=True)
class FrameScores:
    """The scores of one recording, by each method that was adapted to it.

    Attributes:
        audio_name: as in the csv of the recording.
        frame_rate: frames per second.
        padding_s: seconds by which events are padded in labels, on both sides.
        shots_s: (shots, 2) onsets and offsets of the shots.
        branches: name of a method → P(POS) per frame, (n_frames,) float32.
        levels: name of a method → confidence level θ.
        similarity: (n_frames,) how similar to the shots an event around each frame would be; 1: as similar as
            the shots are to each other.
        before_frames: frames of all these that come before the recording: support from elsewhere.
    """

    audio_name: str
    frame_rate: float
    padding_s: float
    shots_s: np.ndarray
    branches: dict[str, np.ndarray]
    levels: dict[str, float]
    similarity: np.ndarray
    before_frames: int = 0

    @property
    def query_start_s(self) -> float:
        """The end of the last shot, before which no event may start."""
        return float(self.shots_s[-1, 1])

    @property
    def shot_frames(self) -> np.ndarray:
        """First and end frame of each shot, padded as its labels are: (shots, 2)."""
        n_frames = len(next(iter(self.branches.values())))
        return event_frames(*self.shots_s.T, self.frame_rate, n_frames, self.padding_s)

    @classmethod
    def read(cls, path: Path) -> FrameScores:
        """The scores that `write` stored.

        Raises:
            FiveshotError: the file is absent or damaged.
        """
        return cls.read_with_sources(path)[0]

    @classmethod
    def read_with_sources(cls, path: Path) -> tuple[FrameScores, dict[str, Provenance]]:
        """The same, and what the scores of each branch were computed from."""
        with open_hdf5(path, "probabilities", "finetune") as file:
            names = read_attribute(file, "branches").split()
            scores = cls(
                audio_name=read_attribute(file, "audio_name"),
                frame_rate=float(file.attrs["frame_rate"]),
                padding_s=float(file.attrs["widen_s"]),
                shots_s=file["shots_s"][:],
                branches={name: file[name][:] for name in names},
                levels={name: float(file[name].attrs["confidence_level"]) for name in names},
                similarity=file["similarity"][:],
                before_frames=int(file.attrs.get("before_frames", 0)),
            )
            return scores, {name: _sources(file[name]) for name in names}

    def write(self, path: Path, sources: dict[str, Provenance]) -> None:
        """Write the scores as a whole, guarded by checksums.

        Args:
            sources: name of a branch → what its scores were computed from.

        Raises:
            WriteError: the file could not be written.
        """
        with new_hdf5(path) as (file, _):  # names are those of earlier versions, whose files stay readable
            write_attribute(file, "audio_name", self.audio_name)
            write_attribute(file, "branches", " ".join(self.branches))
            file.attrs.update(frame_rate=self.frame_rate, widen_s=self.padding_s)
            if self.before_frames:
                file.attrs["before_frames"] = self.before_frames
            write_array(file, "shots_s", self.shots_s)
            for name, values in {"similarity": self.similarity, **self.branches}.items():
                write_array(file, name, values.astype(np.float32))
            for name in self.branches:
                file[name].attrs["confidence_level"] = self.levels[name]
                write_attribute(file[name], "made_from", sources[name].to_json())


def scores_path(run: Run, recording: Recording) -> Path:
    """Where the scores of a test recording lie."""
    return run.probabilities / f"{recording.key}.h5"


def _sources(dataset: h5py.Dataset) -> Provenance:
    return Provenance.from_json(read_attribute(dataset, "made_from"))
