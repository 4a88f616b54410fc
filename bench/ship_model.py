"""Put a pretrained network into the package: weights as safetensors, and the settings that go with them.

    python bench/ship_model.py RUN

RUN is a folder that `./run.sh pretrain` has filled. Writes src/fiveshot/shipped_model/config.yaml (the
settings of config/pretrained.yaml) and checkpoints/model.safetensors, and prints the SHA-256 for the model
card.
"""

from __future__ import annotations

import argparse
import hashlib
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))

from fiveshot.core.config import load_config, save_config
from fiveshot.core.places import shipped_checkpoint
from fiveshot.network.checkpoint import build_network, fill, load_checkpoint, save_model
from fiveshot.run.cli import run_command
from fiveshot.run.folder import MODEL_FILE, Run

ROOT = Path(__file__).resolve().parents[1]


def main(arguments: argparse.Namespace) -> int:
    """Write the two files; the exit code."""
    config = load_config(ROOT / "config.yaml", ROOT / "config" / "pretrained.yaml")
    path = Run(arguments.run).best
    tensors, info = load_checkpoint(path)
    network = build_network(config, len(info.classes))
    fill(network, tensors["network"], path)
    target = shipped_checkpoint() / "checkpoints" / MODEL_FILE
    save_model(target, network, info)
    save_config(config, shipped_checkpoint() / "config.yaml")
    digest = hashlib.sha256(target.read_bytes()).hexdigest()
    print(f"{target.relative_to(ROOT)}: {target.stat().st_size / 1e6:.1f} MB, SHA-256 {digest}")
    return 0


if __name__ == "__main__":
    options = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    options.add_argument("run", type=Path, help="a run that was pretrained")
    sys.exit(run_command(main, options.parse_args()))
