"""Stage 2: features -> checkpoint of the multitask frame-level network.

    ./run.sh train --data DIR [--config FILE] [--run DIR] [--set key.sub=value]

`./run.sh train -h` has all options; the work is in src/fiveshot/commands/train.py.
"""

import sys

from fiveshot.commands.train import main

if __name__ == "__main__":
    sys.exit(main())
