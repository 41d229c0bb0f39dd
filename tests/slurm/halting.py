"""`python halting.py MARKER -m palu unlearn ...`: a training that waits to be killed, once.

After its first checkpoint it writes the number of its SLURM job to the file MARKER and waits. With that file there, it
is `python -m palu` and nothing else.
"""

import os
import signal
import sys
from pathlib import Path
from typing import Any

from palu.cli import main
from palu.training.checkpoints import Checkpoints

save = Checkpoints.save


def save_and_wait(self: Checkpoints, *arguments: Any) -> None:
    save(self, *arguments)
    marker = Path(sys.argv[1])
    if not marker.exists():
        # in one piece, for who waits for it
        partial = marker.with_suffix(".partial")
        partial.write_text(os.environ["SLURM_JOB_ID"], encoding="utf-8")
        partial.rename(marker)
        while True:
            signal.pause()


if __name__ == "__main__":
    Checkpoints.save = save_and_wait  # type: ignore[method-assign]
    sys.exit(main(sys.argv[4:]))
