"""The one exception that is the user's to mend."""

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


def first_line(error: BaseException) -> str:
    """What a library's error says, in its first line; the error's type where it says nothing."""
    return next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
