"""The one exception that is the user's to mend, and how the errors of libraries and of the machine are told."""

import errno

# A message shows values as they were given; of one that would fill the screen the middle is left out.
LONGEST_MESSAGE = 2000


class UserError(Exception):
    """A mistake in a study, a file or an argument, told in one line.

    The message names the value, the place (file, key, row, position) and what is allowed. The command line prints it
    without a traceback; every other exception is a bug of ours and keeps its traceback.

    Whatever the message is made of, it is one line that a terminal shows as it is: a line end, a control character, a
    direction override or half of a surrogate pair stands as `repr` writes it, and a very long message is cut.
    """

    def __init__(self, message: str) -> None:
        if len(message) > LONGEST_MESSAGE:
            side = LONGEST_MESSAGE // 2
            message = f"{message[:side]} ... {message[-side:]}"
        super().__init__("".join(each if each.isprintable() else repr(each)[1:-1] for each in message))


def shown(value: object, most_characters: int) -> str:
    """A value for an error, cut where it is long."""
    text = repr(value)
    return text if len(text) <= most_characters else f"{text[:most_characters]}..."


def first_line(error: BaseException) -> str:
    """A library's error as one line."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__


def damage(error: BaseException) -> str:
    """A library's error over a damaged file, and what mends it: a stage or a download makes the file anew."""
    return f"{first_line(error).rstrip('.')}; delete it and run again"


def is_out_of_memory(error: BaseException) -> bool:
    """Whether the machine's memory, or that of its GPU, was too small. torch and the linker say so in words alone."""
    words = ("can't allocate memory", "Cannot allocate memory", "failed to map segment", "can't start new thread")
    return (
        isinstance(error, MemoryError)
        or type(error).__name__ == "OutOfMemoryError"
        or (isinstance(error, OSError) and error.errno == errno.ENOMEM)
        or (isinstance(error, RuntimeError | ImportError) and any(word in str(error) for word in words))
    )
