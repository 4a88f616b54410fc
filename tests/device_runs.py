"""Tiny trainings and fine-tunings on a chosen device, in the forms that take other paths through the code."""

from small import small_config, small_training_data

from fiveshot.core.compute import choose_backend
from fiveshot.detection.frame_scores import FrameScores, scores_path
from fiveshot.run.folder import Run
from fiveshot.training.dataset import window_loader
from fiveshot.training.loop import losses, new_state

QUICK = (
    "train.epochs=1",
    "network.dropout=0",  # drawn otherwise on a GPU
    "compute.workers=1",
    "finetune.sed.steps=4",
    "finetune.sed.pseudo_labels.from_step=2",
    "finetune.te_vad.steps=3",
)
VARIANTS = {
    "published": (),
    "bilstm": ("network.te_vad=bilstm",),
    "fast forms": ("network.te_vad_resolution=step", "network.enrolment_pooling=time_and_mel"),
    "one branch": ("network.te_vad=none", "detect.methods=[sed]"),
    "baselines": ("detect.methods=[template, prototypical]",),
    "finer steps": (
        "network.frames_per_step=2",
        "finetune.negatives.query_weight=0.5",
        "finetune.negatives.query_windows=4",
    ),
    "masks": (
        "train.augment.time_mask_frames=8",
        "train.augment.mel_mask_bands=4",
        "train.enrolment_frames=32",
    ),
    "mined gaps": ("finetune.support.min_gap_frames=100000", "finetune.support.kind=mixed"),
    "negatives": ("finetune.negatives.training_weight=0.1",),
}


def prepared(folder, device, variant, *settings):
    config = small_config(*QUICK, *VARIANTS[variant], f"compute.device={device}", *settings)
    run = Run(folder)
    return config, run, small_training_data(run, config), choose_backend(config.compute)


def gradients(folder, device, variant):
    """Both losses of one batch, and the gradient of every parameter."""
    config, _, data, backend = prepared(folder, device, variant)
    network = new_state(data, config, backend).network.train()
    pairs = [(number, window.targets[0]) for number, window in enumerate(data.train.windows[:6])]
    loader = window_loader(data, data.train, pairs, [0], config, backend, augment=True)
    batch = {key: value.to(backend.device) for key, value in next(iter(loader)).items()}
    both = losses(network, batch)
    sum(both).backward()
    found = {name: value.grad for name, value in network.named_parameters()}
    assert {value.device.type for value in (*both, *found.values())} == {device}
    return [float(loss.detach()) for loss in both], {
        name: value.cpu().numpy() for name, value in found.items()
    }


def stored_probabilities(run, corpus):
    """P(POS) of each branch, for each test recording."""
    return [FrameScores.read(scores_path(run, recording)).branches for recording in corpus.test]
