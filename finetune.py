"""Stage 3: checkpoint + shots -> frame probabilities (HDF5) -> events (csv), recording by recording.

    ./run.sh finetune --data DIR [--config FILE] [--run DIR] [--set key.sub=value]

`./run.sh finetune -h` has all options; the work is in src/fiveshot/commands/finetune.py.
"""

import sys

from fiveshot.commands.finetune import main

if __name__ == "__main__":
    sys.exit(main())
