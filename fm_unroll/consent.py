"""Networks of the user's own: how they are named, and which of them one command may run.

A name of such a network, ``my_package.networks:MyNet``, stands for code. It is imported only if the user gave
the name in the present command: in a command line, or as a class in Python. A name that stands in a
checkpoint, or in a config, is compared with the given ones and never imported for itself.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from types import MappingProxyType

from fm_unroll.errors import InputError

OPTION = "--trust_code"
NAME = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*", re.ASCII)

# Of the present command alone: what one command may run, a later one of the same process may not.
_given: ContextVar[Mapping[str, type | None]] = ContextVar("given", default=MappingProxyType({}))


def is_own(method: str) -> bool:
    """Whether a method is a network of the user's own: ``MODULE:CLASS``."""
    return NAME.fullmatch(method) is not None


@contextmanager
def consenting(names: Mapping[str, type | None]) -> Iterator[None]:
    """Let some networks of the user's own be run inside.

    Args:
        names: those that the user gave, each with its class if that is what was given.
    """
    before = _given.set({**_given.get(), **names})
    try:
        yield
    finally:
        _given.reset(before)


def consented() -> dict[str, type | None]:
    """The names that the user gave in this command, each with its class if that is what was given."""
    return dict(_given.get())


def require_consent(method: object, where: str = "") -> None:
    """Refuse a network of the user's own that was not named in this command; nothing is imported.

    Args:
        method: any method.
        where: the file in which it is named, if it is in one.

    Raises:
        InputError: see above.
    """
    if isinstance(method, str) and is_own(method) and method not in _given.get():
        raise InputError(
            f"{where or 'this command'} names a network that is not of fm_unroll, {method}: if you know its "
            f"code and want it to run, add {OPTION} {method} (in Python: trust_code=, with the class)"
        )


def split_consent(words: Sequence[str]) -> tuple[list[str], list[str]]:
    """What the options ``--trust_code MODULE:CLASS`` of a command line name, and its other words.

    Raises:
        InputError: one names no class.
    """
    names: list[str] = []
    rest: list[str] = []
    left = iter(words)
    for word in left:
        option, equals, value = word.partition("=")
        if option.replace("-", "_") != OPTION.replace("-", "_"):
            rest.append(word)
            continue
        name = value if equals else next(left, "")
        if not is_own(name):
            raise InputError(
                f"{OPTION} {name or '(nothing given)'}: give MODULE:CLASS, such as my_package.networks:MyNet"
            )
        names.append(name)
    return names, rest


def named_by(words: Sequence[str]) -> list[str]:
    """The network of the user's own that ``--model.method`` of a command line names, if it does."""
    following = [*words[1:], ""]
    methods = [
        word.partition("=")[2] or after
        for word, after in zip(words, following, strict=True)
        if word.partition("=")[0] == "--model.method"
    ]
    return [method for method in methods if is_own(method)]
