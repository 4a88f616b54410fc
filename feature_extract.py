"""Stage 1: audio and csv -> features, one HDF5 file per recording.

    ./run.sh feature --data DIR [--config FILE] [--run DIR] [--set key.sub=value]

`./run.sh feature -h` has all options; the work is in src/fiveshot/commands/feature.py.
"""

import sys

from fiveshot.commands.feature import main

if __name__ == "__main__":
    sys.exit(main())
