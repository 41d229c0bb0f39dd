"""The one exception that is the user's to mend."""


class UserError(Exception):
    """A mistake in a study, a file or an argument, told in one line.

    The message names the value, the place (file, key, row, position) and what is allowed. The command line prints it
    without a traceback; every other exception is a bug of ours and keeps its traceback.
    """
