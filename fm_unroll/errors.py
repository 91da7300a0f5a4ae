"""The one exception that speaks to users."""


class InputError(ValueError):
    """Something the user gave (a file, a key, a value, a weight) cannot be used.

    The message is one line: it names the thing and says what to do. The command line prints it
    without a traceback and exits with status 2.
    """

    def __init__(self, message: str) -> None:
        """Take a message and escape unprintable characters, which names in a damaged file may hold.

        Line breaks stay: PyTorch puts the traceback of a reading process before the message.
        """
        super().__init__("".join(c if c.isprintable() or c == "\n" else ascii(c)[1:-1] for c in message))


class UnsupportedError(InputError):
    """A correct file that this package does not model, such as one with another trajectory.

    A data set is used without it, and the file is named.
    """
