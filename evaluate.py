"""Stage 4: events + references -> official event-based F-measure and report.

    ./run.sh metric --data DIR [--config FILE] [--run DIR] [--set key.sub=value]

`./run.sh metric -h` has all options; the work is in src/fiveshot/commands/metric.py.
"""

import sys

from fiveshot.commands.metric import main

if __name__ == "__main__":
    sys.exit(main())
