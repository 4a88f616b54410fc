"""A row of bench/speed.py: one step of fine-tuning the SED branch, the published way and as here."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from fiveshot.branches import SedBranch, support_means
from speed_common import MINUTE_S, Bench
from speed_parts import (
    AT_ONCE,
    difference,
    published_encoder,
    support_of_a_step,
    training_crops,
    windows_at_once,
)
from torch import Tensor

from fiveshot.adaptation import sed_loss
from fiveshot.losses import frame_cross_entropy
from fiveshot.query import Recorded
from fiveshot.strips import LowWindows, pass_frozen
from fiveshot.windows import IGNORED, query_starts

QUERY_PASSES = 3  # of the published code in every step


def sed_step(bench: Bench) -> dict[str, float]:
    """Support and training windows forward and backward; published, the query of a minute as well."""
    network, task = bench.network(), bench.task(MINUTE_S)
    support, labels = support_of_a_step(bench, task)
    crops, classes = training_crops(bench)
    parts = max(1, round(1 / bench.config.finetune.sed.training_share))
    crops, classes = (np.array_split(values, parts)[0] for values in (crops, classes))
    low = pass_frozen(network, support, labels, bench.backend)
    training, exact = (
        pass_frozen(network, crops, classes, bench.backend, classes > 0, half=half) for half in (True, False)
    )
    branch = SedBranch(network, *support_means(network, low))
    found = {}

    def stepped(name: str, work: Callable[[], None]) -> None:
        branch.zero_grad(set_to_none=True)
        work()
        found[name] = branch.encoder.block3.conv.weight.grad.clone()

    def here(training: LowWindows) -> None:
        for kind, strip in (("support", low.whole), ("classes", training.part(0, 1))):
            with bench.backend.autocast():
                loss = sed_loss(branch, strip, kind)
            loss.backward()

    def published() -> None:
        _backward(bench, branch, support, labels, branch.two_way)
        _backward(bench, branch, crops, np.where(classes > 0, classes, IGNORED), branch.all_classes)
        for _ in range(QUERY_PASSES):
            _judged(bench, branch, task.recorded)

    stepped("exact", lambda: here(exact))
    before = bench.seconds(lambda: stepped("here", lambda: here(training)))
    plain = bench.once(lambda: stepped("published", published))
    after = bench.seconds(lambda: stepped("here", lambda: here(training)))
    taken = (before + after) / 2
    row = {"plain_s": plain, "s": taken, "times_faster": plain / taken}
    # Training windows are kept in half precision.
    kept = difference(found["exact"], found["here"])
    return row | {"difference": difference(found["published"], found["exact"]), "half_difference": kept}


def _backward(
    bench: Bench,
    branch: SedBranch,
    windows: np.ndarray,
    labels: np.ndarray,
    head: Callable[[Tensor], Tensor],
) -> None:
    """Gradients of the mean cross-entropy over the windows' known frames."""
    known = (labels != IGNORED).sum()
    for i in range(0, len(windows), AT_ONCE):
        own = torch.from_numpy(labels[i : i + AT_ONCE]).to(bench.backend.device)
        with bench.backend.autocast():
            logits = head(_embedded(bench, branch, windows[i : i + AT_ONCE]))
            loss = frame_cross_entropy(logits, own, branch.frames_per_step)
        (loss * ((own != IGNORED).sum() / known)).backward()


@torch.no_grad()
def _judged(bench: Bench, branch: SedBranch, recorded: Recorded) -> None:
    frames = bench.config.windows.frames
    starts = query_starts(recorded.n_frames, frames, bench.config.windows.hop_frames)
    for cut in windows_at_once(recorded, starts, frames):
        with bench.backend.autocast():
            branch.judge(_embedded(bench, branch, cut))


def _embedded(bench: Bench, branch: SedBranch, windows: np.ndarray) -> Tensor:
    return published_encoder(branch, torch.from_numpy(windows).to(bench.backend.device), False)
