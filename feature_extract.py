"""Stage 1: audio and csv -> features, one HDF5 file per recording.

./run.sh feature --data DIR [--config FILE] [--run DIR] [--set key.sub=value] [--strict]
"""

from __future__ import annotations

import sys

from fiveshot.cli import parser, run_stage


def main(config, run, arguments) -> int:
    """Check the whole corpus, then extract; exit code 3 where something was left out."""
    from fiveshot.extraction import extract
    from fiveshot.runs import report_problems
    from fiveshot.stages import checked_corpus

    corpus = checked_corpus(config, arguments.strict)
    problems = [*corpus.problems, *extract(corpus, run.features(config), config, arguments.strict)]
    return report_problems(problems)


if __name__ == "__main__":
    sys.exit(run_stage("feature", main, parser(__doc__)))
