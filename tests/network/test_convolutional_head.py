"""The convolutional TE-VAD head: blocks by their definition, reach, and what it may depend on."""

import pytest
import torch
from small import small_config
from torch.nn import functional

from fiveshot.core.errors import FiveshotError
from fiveshot.network.checkpoint import build_network
from fiveshot.network.convolutional_head import DILATIONS, KERNEL, TimeBlock
from fiveshot.network.model import detect_target, output_frames

SETTINGS = (
    "network.te_vad=convolutional",
    "network.te_vad_resolution=step",
    "network.convolution_channels=32",
)


def head_of(*changes):
    torch.manual_seed(0)
    network = build_network(small_config(*SETTINGS, *changes), 3).eval()
    torch.nn.init.normal_(network.te_vad.out.weight)  # as after some training
    return network.te_vad, network.embedding


def test_untrained_it_answers_with_how_alike_the_differences_from_the_mean_of_the_window_are():
    torch.manual_seed(0)
    network = build_network(small_config(*SETTINGS), 3).eval()
    embedding, target = torch.randn(2, 16, network.embedding), torch.randn(2, network.embedding)
    with torch.no_grad():
        logits = detect_target(network.te_vad, embedding, target, 64, 4)
        moved = detect_target(network.te_vad, 3 * embedding + 1, 3 * target + 1, 64, 4)
    centre = embedding.mean(1, keepdim=True)
    cosine = functional.cosine_similarity(embedding - centre, target[:, None] - centre, dim=-1)
    assert torch.allclose(logits[..., 1] - logits[..., 0], 6 * cosine - 4, atol=1e-4)
    assert torch.allclose(logits, moved, atol=1e-4)


@pytest.mark.parametrize("dilation", DILATIONS)
def test_a_block_convolves_each_channel_alone(dilation):
    torch.manual_seed(1)
    block = TimeBlock(6, dilation, 0.0).eval()
    x = torch.randn(2, 40, 6)
    normed = block.norm(x).transpose(1, 2)
    weight = block.taps.T[:, None]  # (channels, 1, KERNEL)
    convolved = functional.conv1d(
        normed, weight, padding=KERNEL // 2 * dilation, dilation=dilation, groups=6
    ).transpose(1, 2)
    wanted = x + block.narrow(functional.gelu(block.widen(convolved)))
    assert (block(x) - wanted).abs().max() < 1e-5


def test_it_gives_logits_for_steps_and_depends_on_the_target_and_on_order():
    head, width = head_of("network.convolution_blocks=4")
    embedding, target = torch.randn(2, 16, width), torch.randn(2, width)
    with torch.no_grad():
        logits = detect_target(head, embedding, target, 64, 4)
        other = detect_target(head, embedding, target.flip(0), 64, 4)
        turned = detect_target(head, embedding.flip(1), target, 64, 4).flip(1)
    assert logits.shape == (2, 16, 2) and output_frames(head, 4) == 4
    assert (logits - other).abs().max() > 1e-3
    assert (logits - turned).abs().max() > 1e-3  # a Transformer without positions would not know


def test_blocks_drop_values_in_training_alone():
    head, width = head_of("network.dropout=0.5")
    embedding, target = torch.randn(1, 16, width), torch.randn(1, width)
    with torch.no_grad():
        assert torch.equal(head(embedding, target, 64, 4), head(embedding, target, 64, 4))
        head.train()
        assert not torch.equal(head(embedding, target, 64, 4), head(embedding, target, 64, 4))


def test_it_works_on_steps_and_says_so():
    with pytest.raises(FiveshotError, match=r"te_vad_resolution must be step"):
        small_config("network.te_vad=convolutional", "network.te_vad_resolution=frame")
