"""How a stage ends that a scheduler, a shutdown or a person tells to end."""

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class Terminated(BaseException):
    """This process was sent SIGTERM. Not an Exception: nothing on the way may take it for an error that it knows."""


@contextmanager
def told_to_end() -> Iterator[None]:
    """While the block runs, SIGTERM raises Terminated in it, so that half-written files are removed on the way out.

    A second SIGTERM ends the process at once. Processes that were forked off end as they would have without this.
    Signals reach a process's main thread only: in another thread nothing is changed.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    owner = os.getpid()

    def end(number: int, frame: FrameType | None) -> None:  # noqa: ARG001 - a handler's two arguments
        signal.signal(number, signal.SIG_DFL)
        if os.getpid() != owner:
            os.kill(os.getpid(), number)
        raise Terminated

    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL if before is None else before)
