"""How far a stage is: a bar in a terminal, elsewhere a plain line every few seconds."""

import sys
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any, TextIO, TypeVar

if TYPE_CHECKING:
    from tqdm import tqdm

Item = TypeVar("Item")

# Between two lines of a log; work that is over sooner than the second leaves no line at all
LINE_SECONDS = 5.0
QUIET_SECONDS = 2.0
LINE = "{desc}: {unit} {n_fmt}/{total_fmt}{postfix}, {elapsed} so far, {remaining} left"
LINE_WITHOUT_TOTAL = "{desc}: {unit} {n_fmt}{postfix}, {elapsed} so far"


class Lines:
    """A stream for tqdm that ends each state with a line break instead of going back to the line's start."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        """Write the state as a line; what holds no state is left out."""
        state = text.strip()
        if state:
            self._stream.write(state + "\n")
        return len(text)

    def flush(self) -> None:
        self._stream.flush()


def progress_bar(
    what: str,
    total: int | None,
    unit: str,
    done: int = 0,
    is_silent: bool = False,
    line_seconds: float = LINE_SECONDS,
    quiet_seconds: float = QUIET_SECONDS,
) -> "tqdm[Any]":
    """A tqdm bar on stderr. Where that is no terminal: a line at most every `line_seconds`, the first after
    `quiet_seconds`, and the last state, such as `training: step 120/400, loss=0.012, 00:41 so far, 01:35 left`.

    what: the stage. total: steps in all, None = unknown. unit: of a step. done: before this start. is_silent: for
    processes that are not the main one.
    """
    # not before the command line has set how often the bars of libraries write into a log
    from tqdm import tqdm

    shared: dict[str, Any] = {"total": total, "desc": what, "unit": unit, "initial": done, "disable": is_silent}
    if sys.stderr.isatty():
        return tqdm(**shared, mininterval=0.2)
    return tqdm(
        **shared,
        file=Lines(sys.stderr),
        miniters=1,
        mininterval=line_seconds,
        delay=quiet_seconds,
        bar_format=LINE_WITHOUT_TOTAL if total is None else LINE,
    )


def followed(items: Iterable[Item], what: str, total: int | None, unit: str) -> Iterator[Item]:
    """The items one by one, with a progress bar that counts those that are done."""
    with progress_bar(what, total, unit) as bar:
        for item in items:
            yield item
            bar.update()


def in_proportion(advance: Callable[[int], object], pieces: int, rows: int) -> Callable[[int], None]:
    """A function of finished pieces, for a bar that counts the `rows` that so many `pieces` make up."""
    done = 0

    def finished(count: int) -> None:
        nonlocal done
        before = done * rows // pieces
        done += count
        advance(done * rows // pieces - before)

    return finished
