"""A row of bench/speed.py: one whole step of the training, the published way and as here."""

from __future__ import annotations

from collections.abc import Callable

import torch
from speed_common import Bench
from speed_parts import AT_ONCE, Batch, difference, published_encoder, training_batch, training_work
from torch import Tensor, nn
from torch.nn import functional

from fiveshot.network.losses import frame_cross_entropy, target_labels
from fiveshot.network.model import FewShotNetwork, mean_embedding, to_frames
from fiveshot.training.loop import losses

ALIKE = 4  # windows that losses and gradients of both ways are compared on


def training_plain(bench: Bench) -> dict[str, float]:
    """Forward, backward and optimizer's step of some windows, in plain operations as published, and as here.

    Published, each window is encoded once for each branch, the heads run over frames, and enrolments pass at
    their full rate, masked behind every layer, into the batch's mean and variance. Those of masked zeros are
    not reproduced here, so that losses and gradients are compared with the running statistics in enrolments;
    and without dropout, which is drawn otherwise. `windows` is the batch, cut down to what the published way
    has memory for.
    """
    count = min(bench.config.train.batch, AT_ONCE)
    network, batch = bench.network().train(), training_batch(bench, count)
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-4)

    def published() -> None:
        with bench.backend.autocast():
            loss = published_losses(network, batch, as_here=False)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()

    row = bench.compared(published, lambda: training_work(bench, network, optimizer, batch))
    return row | {"windows": count} | compared_values(bench)


def compared_values(bench: Bench) -> dict[str, float]:
    """Losses, and gradients of a weight deep in the encoder, of both ways."""
    network, batch = bench.network().train(), training_batch(bench, ALIKE)
    for module in network.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
        elif isinstance(module, nn.MultiheadAttention):
            module.dropout = 0.0
    kept = {key: value.clone() for key, value in network.state_dict().items()}

    def outcome(both: Callable[[], Tensor]) -> tuple[Tensor, Tensor]:
        network.load_state_dict(kept)
        network.zero_grad(set_to_none=True)
        with bench.backend.autocast():
            loss = both()
        loss.backward()
        return loss.detach(), network.encoder.block1.conv.weight.grad.clone()

    plain = outcome(lambda: published_losses(network, batch, as_here=True))
    here = outcome(lambda: sum(losses(network, batch)))
    # In single precision a rounding may turn a ReLU or choose another of two values in a pool; in double
    # precision the gradients are the same to 1e-9, see tests/test_kernels.py.
    names = ("difference", "gradient_difference")
    return {name: difference(*pair) for name, *pair in zip(names, plain, here, strict=True)}


def published_losses(network: FewShotNetwork, batch: Batch, as_here: bool) -> Tensor:
    """Both losses, in plain operations; with enrolments `as_here` the losses are those of this project."""
    labels, frames, head = batch["labels"], batch["labels"].shape[1], network.te_vad

    def encoded() -> Tensor:
        steps = _steps(published_encoder(network, batch["features"], True))
        return to_frames(steps, network.frames_per_step, frames)

    embedding = encoded()
    loss = frame_cross_entropy(network.sed(embedding), labels, 1)
    if head is None:
        return loss
    if as_here and network.encoder.enrolment_pooling == "time_and_mel":
        steps = _steps(published_encoder(network, batch["enrolment"], False))
        target = mean_embedding(steps, batch["enrolment_mask"], network.frames_per_step)
    else:
        target = published_enrolment(network, batch, not as_here)
    if not as_here:  # a second time would move the running statistics, which the enrolments share, once more
        embedding = encoded()
    joined = torch.cat([embedding, target[:, None].expand_as(embedding)], dim=-1)
    inner = head.transformer(joined) if hasattr(head, "transformer") else head.lstm(joined)[0]
    return loss + frame_cross_entropy(head.out(inner), target_labels(labels, batch["target"]), 1)


def published_enrolment(network: FewShotNetwork, batch: Batch, training: bool) -> Tensor:
    """Target vectors: every frame of the enrolments, the mask behind each convolution and normalisation."""
    mask, encoder, x = batch["enrolment_mask"], network.encoder, batch["enrolment"]
    inside = mask[:, None, :, None].to(x.dtype)
    for block in (encoder.block0, encoder.block1, encoder.block2, encoder.block3):
        norm, conv = block.norm, block.conv
        x = functional.conv2d(x, conv.weight.contiguous(), conv.bias, conv.stride, conv.padding).contiguous()
        x = functional.batch_norm(
            inside * x, norm.running_mean, norm.running_var, norm.weight, norm.bias, training, eps=norm.eps
        )
        x = functional.relu(inside * x)
        x = functional.max_pool2d(x, (1, 2)) if block.pool else x
    return (_steps(x) * mask[..., None]).sum(1) / mask.sum(1, keepdim=True).clamp(min=1)


def _steps(x: Tensor) -> Tensor:
    """(batch, channels, steps, mels) → (batch, steps, embedding)."""
    return x.permute(0, 2, 1, 3).flatten(2)
