"""Make the demo corpus inside a run and print its folder: the first step of `./run.sh demo`."""

from __future__ import annotations

import sys

from fiveshot.run.cli import parser, read_settings, run_folder, said


def make(arguments) -> int:
    """Generate the corpus of the run's seed and number of shots, or keep the one that is there."""
    from fiveshot.data.synthetic import SynthesisSettings, generate_corpus

    config = read_settings(arguments)
    folder = run_folder(arguments) / "corpus"
    print(f"demo corpus: {folder}, seed {config.seed}, shots {config.shots}", file=sys.stderr)
    generate_corpus(folder, SynthesisSettings(seed=config.seed, shots=config.shots))
    print(folder)
    return 0


if __name__ == "__main__":
    sys.exit(said(make, parser(__doc__).parse_args()))
