"""Methods as they are written: one denoiser (``varnet``), or several in turn (``varnet x 8, clip x 4``)."""

import re

from fm_unroll.errors import InputError

PAPER = "paper"  # the physics of the published method, which goes without saying
NUM_CASCADES = 12  # where neither method nor user say
PART = re.compile(r"(\S+) x ([1-9]\d*)")
ALMOST = re.compile(r"([^\s\"']+)\s+x\s*0*([1-9]\d*)")


def parts_of(method: str) -> list[tuple[str, int | None]]:
    """The names in a method, first cascades first, each with its number of cascades; None: all of them.

    Raises:
        InputError: the method is a list and not written as one, so that each has one spelling.
    """
    if not re.search(r"[\s,]", method):
        return [(method, None)]
    found = [PART.fullmatch(part) for part in method.split(", ")]
    names = [part[1] for part in found if part]
    if len(names) < len(found) or len(names) < 2 or any(map(str.__eq__, names, names[1:])):
        meant = _meant(method)
        if len(meant) > 1 and len(names) < len(found):
            raise InputError(f"method {method!r}: write it as {', '.join(meant)!r}, with these spaces")
        raise InputError(
            f"method {method!r}: give one name and num_cascades, or different names in turn, each with its "
            "number of cascades, such as 'varnet x 8, clip x 4'"
        )
    return [(part[1], int(part[2])) for part in found if part]


def _meant(method: str) -> list[str]:
    """The parts of a list that is written with other spaces, or in brackets; none if it is another thing."""
    found = [ALMOST.fullmatch(part.strip()) for part in method.strip(" [],").split(",")]
    return [f"{part[1]} x {part[2]}" for part in found if part] if all(found) else []


def cascades_of(method: str, num_cascades: int | None = None) -> list[str]:
    """The name of every cascade's denoiser.

    Args:
        method: one name, or a list.
        num_cascades: None: what the list adds up to, or 12 of one name.

    Raises:
        InputError: the numbers contradict each other, or are not positive.
    """
    if num_cascades is not None and num_cascades < 1:
        raise InputError(f"num_cascades is {num_cascades}: give 1 or more")
    names = [name for name, count in parts_of(method) for _ in range(count or num_cascades or NUM_CASCADES)]
    if num_cascades not in (None, len(names)):
        raise InputError(
            f"num_cascades is {num_cascades}, method {method!r} has {len(names)}: leave num_cascades out"
        )
    return names


def folder_name(method: str) -> str:
    """A method as part of a folder's name: ``timm-vit_tiny``, ``varnet-x-8-clip-x-4``, ``networks-MyNet``."""
    return re.sub(r"[/\s,:]+", "-", method)
