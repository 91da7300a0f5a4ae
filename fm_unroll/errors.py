"""The one exception that speaks to users."""


class InputError(ValueError):
    """Something the user gave (a file, a key, a value, a weight) cannot be used.

    The message is one line: it names the thing and says what to do. The command line prints it
    without a traceback and exits with status 2.
    """
