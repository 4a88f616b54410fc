"""Stage 3: checkpoint + shots -> frame probabilities (HDF5) -> events (csv), recording by recording.

    ./run.sh finetune --data DIR [--config FILE] [--run DIR] [--set key.sub=value] [--strict]

Recordings that are done with the same settings are kept, so that a stopped call goes on, and a call with
other `detect` settings only repeats the post-processing. With --checkpoint the network and its training
recordings are another run's, so that an evaluation set is predicted in a folder of its own.
"""

from __future__ import annotations

import sys

from fiveshot.run.cli import add_checkpoint, parser, run_stage


def main(config, run, arguments) -> int:
    """Adapt to every test recording and write the predictions; exit code 3 where something was left out."""
    from fiveshot.adaptation.finetune import finetune_all
    from fiveshot.core.compute import choose_backend
    from fiveshot.data.borrowing import check_ready, with_checkpoint
    from fiveshot.detection.duplicates import official_rows
    from fiveshot.detection.predictions import write_confident_predictions, write_predictions
    from fiveshot.run.folder import log, report_problems
    from fiveshot.training.stages import checked_corpus, note_predictions

    run = with_checkpoint(run, arguments.checkpoint)
    backend = choose_backend(config.compute)
    log.info("compute: %s", backend)
    if run.checkpoint:
        log.info("checkpoint: %s", run.checkpoint)
    corpus = checked_corpus(config, arguments.strict)
    check_ready(run, config, corpus)
    detections, problems = finetune_all(run, corpus, config, backend, arguments.strict)
    failed = {problem.path for problem in problems}
    done = [item for item in corpus.test if item.audio not in failed]
    official, notes = official_rows(detections, done)
    write_predictions(run.predictions, official)
    write_confident_predictions(run.confident_predictions, detections)
    note_predictions(run, config, done)
    log.info("%d events in %s", len(official), run.predictions)
    for note in notes:
        log.info("%s", note)
    return report_problems([*corpus.problems, *problems])


if __name__ == "__main__":
    made = parser(__doc__)
    add_checkpoint(made)
    sys.exit(run_stage("finetune", main, made))
