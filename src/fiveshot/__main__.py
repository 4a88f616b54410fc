"""The command `fiveshot`: what run.sh does, without bash.

fiveshot detect RECORDING... --shots FILE
fiveshot report DIR
fiveshot feature | train | pretrain | finetune | metric | submit | all | demo [OPTIONS]
fiveshot VERB -h
"""

from __future__ import annotations

import sys
from importlib import import_module

VERBS = {
    "detect": "a few marked events in, every later event out: RECORDING... --shots FILE",
    "report": "what was detected as one HTML page: DIR of detect, or of a scored run",
    "feature": "check the corpus, extract features to HDF5",
    "train": "train the network; resumes where it was stopped",
    "pretrain": "train on generated scenes, as the model of the package was",
    "finetune": "adapt to each test recording, write predictions.csv",
    "metric": "score the run, or --predictions FILE --references DIR",
    "submit": "write the challenge's package: --label NAME_INST_task5_1",
    "all": "feature, train, finetune, metric",
    "demo": "all of it on a generated corpus, with pictures",
}
MODULES = {"all": "pipeline"}


def usage() -> str:
    """The verbs, one line each."""
    rows = "\n".join(f"  {verb:10} {text}" for verb, text in VERBS.items())
    return f"usage: fiveshot VERB [OPTIONS]\n\n{rows}\n\n`fiveshot VERB -h` lists the options of a verb."


def main(argv: list[str] | None = None) -> int:
    """Run one verb; `argv` as on the command line. The exit code."""
    argv = sys.argv[1:] if argv is None else argv
    if not argv:
        print(usage(), file=sys.stderr)
        return 2
    verb, *rest = argv
    if verb in ("-h", "--help", "help"):
        print(usage())
        return 0
    if verb == "--version":
        from fiveshot import __version__

        print(__version__)
        return 0
    if verb not in VERBS:
        print(f"error: unknown verb {verb!r}; `fiveshot -h` lists them.", file=sys.stderr)
        return 2
    return import_module(f"fiveshot.commands.{MODULES.get(verb, verb)}").main(rest)


if __name__ == "__main__":
    sys.exit(main())
