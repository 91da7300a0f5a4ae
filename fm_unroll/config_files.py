"""Config files are data: what one may name is checked before any of it is imported.

Those of former versions are brought up to date as a parser reads them, in the mode :data:`CONFIG_MODE`.
There, and in :func:`expand_words` for command lines, ``~`` becomes the home folder, whatever the option.
"""

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any

import yaml
from jsonargparse import get_loader, set_loader, set_parsing_settings

from fm_unroll.compatibility import upgrade_config
from fm_unroll.consent import require_consent
from fm_unroll.errors import InputError
from fm_unroll.files import at_home

# How a parser of jsonargparse reads configs here: YAML, of whatever version.
CONFIG_MODE = "fm_unroll"

# A config names the classes it wants; only these packages may answer.
ALLOWED_PACKAGES = ("fm_unroll", "lightning", "torch")

# The path of a class, as the value of an option; the parser never lets its own be named.
CLASS_PATH = re.compile(r"(?!jsonargparse\.)[A-Za-z_]\w*(\.[A-Za-z_]\w*)+", re.ASCII)

# What the present command line names itself, which its user may have imported and called.
_named: ContextVar[tuple[str, ...]] = ContextVar("named", default=())

# What stands for a path in a home folder, behind an option's name or alone.
BELOW_HOME = re.compile(r"(--?[^=\s]+=)?(~[\w.-]*/.*|~)", re.DOTALL)


def given_configs(args: Sequence[str]) -> Iterator[Path]:
    """The config files of a command line."""
    for position, arg in enumerate(args):
        option, _, value = arg.partition("=")
        if option in {"--config", "-c"}:
            value = value or "".join(args[position + 1 : position + 2])
            path = Path(value)
            if not path.is_file():
                raise InputError(f"config {value or '(none given)'} is not a file")
            yield path


def read_config(path: Path) -> dict[str, Any]:
    """Read a config file as it stands.

    Raises:
        InputError: it is not plain YAML, or holds something else than options.
    """
    try:
        config = yaml.safe_load(path.read_text())
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError, ValueError, OSError) as error:
        reason = " ".join(str(error).split())
        raise InputError(f"{path} is not plain YAML: {reason}") from None
    if not isinstance(config, dict | None):
        raise InputError(f"{path} holds a {type(config).__name__}, not options with their values")
    return config or {}


def expand_words(words: Sequence[str]) -> list[str]:
    """A command line in which ``~`` at the beginning of a word or of an option's value is the home folder.

    A shell does so with ``--root ~/data``, not with ``--root=~/data``, and nobody does in a sweep file.

    Raises:
        InputError: nobody's home folder is known by that name.
    """
    return [
        f"{found[1] or ''}{at_home(found[2])}" if (found := BELOW_HOME.fullmatch(word)) else word
        for word in words
    ]


def expand_home(node: Any) -> Any:
    """A config, or one value of it, in which every text that begins with ``~`` begins with the home folder.

    Raises:
        InputError: nobody's home folder is known by that name.
    """
    if isinstance(node, dict):
        return {name: expand_home(value) for name, value in node.items()}
    if isinstance(node, list):
        return [expand_home(value) for value in node]
    return expand_words([node])[0] if isinstance(node, str) else node


def check_classes(path: Path) -> None:
    """Refuse a config that names classes outside the allowed packages, before any of them is imported.

    Raises:
        InputError: not plain YAML, or a class from elsewhere.
    """
    for class_path in named_classes(read_config(path)):
        if class_path.split(".")[0] not in ALLOWED_PACKAGES and "." in class_path:
            raise InputError(
                f"{path} names the class {class_path}: only {', '.join(ALLOWED_PACKAGES)} may be used"
            )


def check_network(path: Path) -> None:
    """Refuse a config of a network of the user's own that was not named in this command.

    Raises:
        InputError: see above, or not plain YAML.
    """
    model = read_config(path).get("model")
    if isinstance(model, dict):
        require_consent(model.get("method"), str(path))


@contextmanager
def importing(words: Sequence[str]) -> Iterator[None]:
    """Let configs import classes of the allowed packages alone, and of others those that the user names.

    The parser itself refuses all others, however they are named: in a file that a config names, as a text
    where a class is expected, or under a name with dots. Nor does it make what a config describes where any
    value may stand: there it stays a description.

    Args:
        words: of the command line.
    """
    named = list(classes_of_words(words))
    set_parsing_settings(
        import_path_denylist=["*"],
        import_path_allowlist=[*ALLOWED_PACKAGES, *named],
        instantiate_subclass_spec_in_any=False,
    )
    before = _named.set(tuple(named))
    try:
        yield
    finally:  # a later command of the same process has to name them for itself
        _named.reset(before)
        set_parsing_settings(
            import_path_denylist=[path for path in named if path.split(".")[0] not in ALLOWED_PACKAGES]
        )


def named_by_user() -> tuple[str, ...]:
    """What the command line of the present command names itself; words that stand in a file are none."""
    return _named.get()


def classes_of_words(words: Sequence[str]) -> Iterator[str]:
    """Every class that is named on a command line itself; names of files are none."""
    for word in words:
        value = word.partition("=")[2] if word.startswith("-") else word
        if CLASS_PATH.fullmatch(value) and not Path(value).exists():
            yield value
        elif value[:1] in {"{", "["}:
            try:
                yield from filter(CLASS_PATH.fullmatch, named_classes(yaml.safe_load(value)))
            except yaml.YAMLError:  # the parser will say so
                continue


def named_classes(node: object) -> Iterator[str]:
    """Every ``class_path`` in a config."""
    if isinstance(node, dict):
        if isinstance(node.get("class_path"), str):
            yield node["class_path"]
        for value in node.values():
            yield from named_classes(value)
    elif isinstance(node, list):
        for value in node:
            yield from named_classes(value)


def load_config(text: str) -> object:
    """Load a config, or one value of a command line, as jsonargparse does; configs are brought up to date."""
    content = expand_home(get_loader("yaml")(text))
    return upgrade_config(content) if isinstance(content, dict) else content


set_loader(CONFIG_MODE, load_config, exceptions=(yaml.YAMLError,))
