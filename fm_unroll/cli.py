"""The command line: a table of verbs, each one call into the room that does the work."""

import difflib
import errno
import importlib
import inspect
import os
import re
import sys
from argparse import ArgumentError
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import is_dataclass
from itertools import pairwise
from typing import Any, Literal, get_args, get_origin

from fm_unroll import __version__
from fm_unroll.errors import InputError

LIGHTNING = "fm_unroll.commands.train:train"

VERBS: dict[str, tuple[str | dict[str, str], str]] = {
    "fit": (LIGHTNING, "train a network: --config configs/dinov2_x8.yaml; continue with --resume RUN_DIR"),
    "validate": (LIGHTNING, "metrics of a checkpoint on the validation subjects"),
    "test": (LIGHTNING, "metrics of a checkpoint on the test subjects"),
    "predict": (LIGHTNING, "write the reconstructions of a data set"),
    "data": (
        {
            "synthesize": "fm_unroll.commands.synthesize:synthesize",
            "check": "fm_unroll.commands.check:check",
            "pack": "fm_unroll.commands.pack:pack",
            "undersample": "fm_unroll.commands.undersample:undersample",
        },
        "synthesize the embedded data set; check, pack, undersample a folder of files",
    ),
    "encoders": (
        {
            "list": "fm_unroll.commands.encoders:list_",
            "fetch": "fm_unroll.commands.encoders:fetch",
            "verify": "fm_unroll.commands.encoders:verify",
        },
        "list, fetch and verify the frozen vision encoders",
    ),
    "weights": (
        {"import": "fm_unroll.commands.weights:import_"},
        "turn published weights into a checkpoint: import fastmri FILE",
    ),
    "summary": (
        "fm_unroll.commands.summary:summary",
        "parameters of a config's network, trainable and frozen",
    ),
    "sweep": (
        "fm_unroll.commands.sweep:sweep",
        "the runs of a W&B sweep FILE, one after another, without a server",
    ),
    "reconstruct": (
        "fm_unroll.commands.reconstruct:reconstruct",
        "image of one FILE: fastMRI, CMRxRecon, ISMRMRD, NumPy; --checkpoint or the general network",
    ),
    "release": (
        "fm_unroll.commands.release:release",
        "a CHECKPOINT's network for others: one small file, a folder, or hf://OWNER/NAME",
    ),
    "cross-domain": (
        "fm_unroll.commands.cross_domain:cross_domain",
        "every method on every anatomy and mask",
    ),
    "bench": ("fm_unroll.commands.bench:bench", "time and memory against peers, as ratios from one run"),
    "report": ("fm_unroll.commands.report:report", "tables, figures and a page from RECORDS.csv"),
    "report-environment": (
        "fm_unroll.commands.report_environment:report_environment",
        "versions, device and settings for a report of a fault, without paths and secrets",
    ),
}

# Verbs for which a network of the user's own may be named.
OF_NETWORKS = {
    *("fit", "validate", "test", "predict"),
    *("summary", "sweep", "reconstruct", "release", "cross-domain"),
}


def main(args: Sequence[str] | None = None) -> None:
    """Run one verb.

    Args:
        args: the command line without the program's name; None: ``sys.argv``.

    Raises:
        SystemExit: with one line on standard error; status 2 when something given cannot be used, 1 when the
            disk is full or a reading process was killed.
    """
    # Set before torch is loaded: its threads wait for each other by spinning, by default so long that they
    # are an order of magnitude slower where cores are shared with reading processes. Microseconds suffice.
    os.environ.setdefault("GOMP_SPINCOUNT", "10000")
    args = list(sys.argv[1:] if args is None else args)
    debug = "--debug" in args
    args = [arg for arg in args if arg != "--debug"]
    if not args or args[0] in {"-h", "--help"}:
        print(overview())
        return
    if args[0] == "--version":
        print(__version__)
        return
    try:
        run(args)
    except (ValueError, ArgumentError) as error:
        message = complaint(error)
        if debug or message is None:
            raise
        print(f"error: {message}", file=sys.stderr)
        raise SystemExit(2) from None
    except (OSError, RuntimeError) as error:
        what = fault(error)
        if debug or what is None:
            raise
        print(f"error: {what}", file=sys.stderr)
        raise SystemExit(1) from None


def complaint(error: ValueError | ArgumentError) -> str | None:
    """Say in one line what of what was given cannot be used; None if that is not what is wrong."""
    # jsonargparse raises errors of its own out of those of the classes that it builds
    ours = next((link for link in chain_of(error) if isinstance(link, InputError)), None)
    if ours is not None:
        # raised in a reading process, the message comes behind that process's traceback
        return str(ours).strip().splitlines()[-1].removeprefix("fm_unroll.errors.InputError: ")
    if isinstance(error, ArgumentError):
        if denied := re.search(r"Importing '([\w.]+)' is not allowed", str(error)):
            return (
                f"a config names the class {denied[1]}: only those of fm_unroll, lightning and torch may be "
                "used, or what you name on the command line itself"
            )
        return f"{innermost(error)} (--help shows the options)"
    return None


def innermost(error: ArgumentError) -> str:
    """Say what is wrong with an option, without jsonargparse's list of all the types that its value is not.

    It raises one error out of the other: each names an option or class in its first line, the last the fault.
    """
    chain = chain_of(error)
    if len(chain) == 1:
        return in_plain_words(" ".join(str(error).split()))
    *introductions, reason = (str(link).strip().partition("\n")[0] for link in chain)
    said = in_plain_words(reason)
    classes = [found[1] for line in introductions if (found := re.search(r"class_path '([\w.]+)'", line))]
    if classes and (unknown := re.fullmatch(r"Option '(\w+)' is not accepted", reason)):
        said += instead_of(unknown[1], classes[-1])
    return " ".join([*dict.fromkeys(line for line in introductions if line.endswith(":")), said])


def instead_of(option: str, class_path: str) -> str:
    """The end of a sentence that says what may have been meant by an option that a class does not have.

    Args:
        option: its name.
        class_path: of a class that the parser has found.
    """
    from fm_unroll.models.own import did_you_mean
    from fm_unroll.physics import VariedSampling

    module, _, name = class_path.rpartition(".")
    kind = getattr(importlib.import_module(module), name)
    known = {each for base in kind.__mro__ for each in inspect.signature(base.__init__).parameters} - {option}
    if "sampling" in known and option in inspect.signature(VariedSampling).parameters:
        return f"; a range is given as --data.sampling VariedSampling --data.sampling.{option}"
    return did_you_mean(difflib.get_close_matches(option, sorted(known)))


def in_plain_words(reason: str) -> str:
    """Say what a value should be where jsonargparse names a type of Python: one of several, or a list."""
    if one_of := re.search(r"Expected a typing\.Literal\[(.*)\]\. Got value: (.*)", reason):
        choices = one_of[1].replace("'", "")
        said = f"{one_of[2]} is none of {choices}"
    elif several := re.search(r"Expected a <class '(?:[\w.]*\.)?(\w+)'>\. Got value: ([^\[{]*)$", reason):
        if several[1] not in {"Sequence", "list", "tuple"}:
            return reason
        value = several[2]
        example = f"[{value}, {value}], with as many as it takes" if several[1] == "tuple" else f"[{value}]"
        said = f"{value} is a single value: give a list in brackets, such as {example}"
    else:
        return reason
    return f"{reason[: reason.index('Expected')]}{said}"


def fault(error: OSError | RuntimeError) -> str | None:
    """Say what happened to the machine, not to the input, in one line; None if it is neither."""
    numbers = {link.errno for link in chain_of(error) if isinstance(link, OSError)}
    if numbers & {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}:
        reason = " ".join(str(error).split())
        return f"the disk is full ({reason}): free some space, then give the same command or --resume"
    # The pipe to the process breaks, or PyTorch finds it dead: a RuntimeError that only its text tells apart.
    if isinstance(error, ConnectionResetError) or str(error).startswith("DataLoader worker"):
        return (
            "a reading process was killed, most often for want of memory: lower batch_size or num_workers, "
            "then give the same command or --resume"
        )
    return None


def chain_of(error: BaseException) -> list[BaseException]:
    """List an error and those that it was raised from, the first cause last."""
    chain = [error]
    while (cause := chain[-1].__cause__ or chain[-1].__context__) is not None:
        chain.append(cause)
    return chain


def run(args: list[str]) -> None:
    """Find the verb's function and hand it the rest of the command line."""
    # imported here, so that the overview needs nothing but the standard library
    from fm_unroll.config_files import check_classes, check_network, expand_words, given_configs, importing
    from fm_unroll.consent import OPTION, consenting, named_by, split_consent

    trusted, args = split_consent(expand_words(args))
    verb, *rest = args or [""]
    if verb not in VERBS:
        raise InputError(f"unknown verb {verb!r}: choose one of {', '.join(VERBS)}")
    if trusted and verb not in OF_NETWORKS:
        raise InputError(f"{verb} applies no network: leave out {OPTION}")
    if VERBS[verb][0] == LIGHTNING:
        trusted += named_by(rest)
    with consenting(dict.fromkeys(trusted)), importing(rest):
        for name in trusted:
            load("fm_unroll.models.own:find_class")(name)
        # Lightning's verbs look at theirs when all are known, that of a run that is resumed among them
        for config in given_configs(rest) if VERBS[verb][0] != LIGHTNING else ():
            check_classes(config)
            if verb in OF_NETWORKS:
                check_network(config)
        dispatch(verb, rest)


def dispatch(verb: str, rest: list[str]) -> None:
    """Hand a verb's function the rest of the command line."""
    target, _ = VERBS[verb]
    if target == LIGHTNING:
        load(target)([verb, *rest])
        return
    if isinstance(target, str):
        function = load(target)
    elif rest and rest[0] in target:
        verb, function, rest = f"{verb} {rest[0]}", load(target[rest[0]]), rest[1:]
    elif rest and rest[0] in {"-h", "--help"}:
        parts = "".join(f"\n  python -m fm_unroll {verb} {part} --help" for part in target)
        print(f"{verb}: {VERBS[verb][1]}\n{parts}")
        return
    else:
        raise InputError(f"{verb} needs one of {', '.join(target)}, then --help for its options")
    call(function, rest, prog=f"fm_unroll {verb}")


def call(function: Callable[..., None], args: list[str], prog: str) -> None:
    """Make options and help of a function's signature and docstring, and call it with a command line."""
    from jsonargparse import ArgumentParser

    import fm_unroll.commands.option_types  # noqa: F401
    from fm_unroll.config_files import CONFIG_MODE

    parameters = inspect.signature(function).parameters
    # a function whose parameters are keyword-only has options alone, others have positionals
    positionals = all(p.kind is not p.KEYWORD_ONLY for p in parameters.values())
    parser = ArgumentParser(prog=prog, exit_on_error=False, parser_mode=CONFIG_MODE)
    parser.add_function_arguments(function, as_positional=positionals)
    if "config" not in parameters:
        parser.add_argument("--config", action="config", help="a YAML file with these options")
    words = spell_out(join_values(args, parameters), parameters)
    options = parser.instantiate(parser.parse_args(words))
    also = given_within(parser.parse_args(words, defaults=False).as_dict(), parameters)
    function(**{name: also.get(name) if options[name] is None else options[name] for name in parameters})


def given_within(given: Mapping[str, Any], parameters: Iterable[str]) -> dict[str, Any]:
    """Options of a verb that were given as those of one of its classes: ``--sampling.acceleration 8``.

    The class's own default, which nobody gave, stands for nothing: ``--sampling RandomSampling`` alone.

    Args:
        given: what the command line gives, without defaults.
        parameters: names of the verb's options.
    """
    classes = [value.get("init_args", {}) for value in given.values() if isinstance(value, dict)]
    return {name: options[name] for options in classes for name in parameters if name in options}


def spell_out(args: list[str], parameters: Mapping[str, inspect.Parameter]) -> list[str]:
    """Let ``--max-runs`` stand for ``--max_runs``, and ``--json`` for ``--json true``.

    ``--adapt``, whose settings are options of their own (``--adapt.steps 20``), stands for their defaults.
    jsonargparse does none of this for a function's parameters.
    """
    spelled_out = []
    for arg, following in zip(args, [*args[1:], ""], strict=False):
        option, equals, value = arg.partition("=")
        name = option.removeprefix("--").replace("-", "_")
        if not option.startswith("--") or name not in parameters:
            spelled_out.append(arg)
            continue
        spelled_out.append(f"--{name}{equals}{value}")
        if parameters[name].annotation is bool and not equals and following not in {"true", "false"}:
            spelled_out.append("true")
        elif any(map(is_dataclass, get_args(parameters[name].annotation))) and following[:2] in ("", "--"):
            spelled_out.append("{}")
    return spelled_out


def join_values(args: Sequence[str], parameters: Mapping[str, inspect.Parameter]) -> list[str]:
    """Let ``--weights A B`` stand for ``--weights [A,B]``.

    Where there are options alone, every value belongs to one. Else only those that take several go on to the
    next option: as far as what must stand without a name is not in front and may follow, only with values of
    their type. Of options that take several values, a single one stands for a list of it: ``--formats nii``.
    """
    kinds = {name: p.annotation for name, p in parameters.items()}
    several = {name: get_args(kind)[0] for name, kind in kinds.items() if get_origin(kind) is Sequence}
    nameless = [p for p in parameters.values() if p.kind is not p.KEYWORD_ONLY]
    in_front = next((place for place, arg in enumerate(args) if arg.startswith("--")), len(args))
    may_follow = in_front < sum(p.default is p.empty for p in nameless)
    joined: list[str] = []
    option = ""  # whose value the next word may be
    for arg in args:
        kind = several.get(option.removeprefix("--").replace("-", "_"))
        if arg.startswith("--"):
            option = arg
            joined.append(arg)
        elif not option or joined[-1] == option:
            joined.append(arg)
            option = "" if nameless and (arg[:1] == "[" or not kind) else option
        elif not nameless or not may_follow or fits(arg, kind):
            joined[-1] = f"[{joined[-1].removeprefix('[').removesuffix(']')},{arg}]"
        else:
            option = ""
            joined.append(arg)
    for place, (option, value) in enumerate(pairwise(joined), start=1):
        if option.removeprefix("--").replace("-", "_") in several and value[0] not in "[-":
            joined[place] = f"[{value}]"
    return joined


def fits(word: str, kind: object) -> bool:
    """Whether a word may be a value of a type: one of its choices, a number, or any text."""
    if get_origin(kind) is Literal:
        return word in get_args(kind)
    return kind is str or word.replace(".", "", 1).isdecimal()


def load(target: str) -> Callable[..., None]:
    """Import the function that ``module:name`` stands for."""
    module, name = target.split(":")
    function: Callable[..., None] = getattr(importlib.import_module(module), name)
    return function


def overview() -> str:
    """Write the help page of the program itself."""
    lines = [f"fm_unroll {__version__}: MRI reconstruction with foundation models as priors", ""]
    lines += [f"  {verb:20}{text}" for verb, (_, text) in VERBS.items()]
    return "\n".join(
        [
            *lines,
            "",
            "python -m fm_unroll VERB --help shows a verb's options; --debug, tracebacks.",
            "Verbs of networks run one of your own where you name it: --trust_code MODULE:CLASS.",
        ]
    )
