"""The centre of a mask as a value: what records, protocols and patterns say of it. Needs no torch."""

from dataclasses import dataclass
from typing import Self

from fm_unroll.errors import InputError

ACS_LINES = " ACS lines"


@dataclass(frozen=True)
class Center:
    """The fully sampled centre of a mask: a number of lines, or a fraction of all lines.

    ``str(center)`` is what records and folder names say: ``24 ACS lines`` or ``0.08``.

    Attributes:
        lines: number of auto-calibration (ACS) lines, the same in every matrix; None if it is a fraction.
        fraction: ACS lines over all lines, 0..1; None if it is a number of lines.
    """

    lines: int | None = None
    fraction: float | None = None

    def __post_init__(self) -> None:
        """Refuse both and neither, a negative number of lines, and fractions outside of 0..1."""
        if (self.lines is None) == (self.fraction is None):
            raise InputError("a centre is either a number of ACS lines or a fraction of all lines")
        if self.lines is not None and (self.lines < 0 or self.lines != int(self.lines)):
            raise InputError(
                f"acs_lines is {self.lines}: give a whole number, 0 or more; a fraction of all lines is for "
                "EquispacedSampling and RandomSampling"
            )
        if self.fraction is not None and not 0 <= self.fraction <= 1:
            raise InputError(f"center_fraction is {self.fraction:g}: give a fraction from 0 to 1")

    @classmethod
    def parse(cls, value: float | str) -> Self:
        """The centre that a number or a text stands for.

        Args:
            value: a number as in protocol files, ``24`` or ``0.08``: below 1 it is a fraction, from 1 on a
                number of lines; or the text of records.

        Raises:
            InputError: neither a number nor a text of records, or a broken number of lines.
        """
        text = str(value)
        try:
            number = float(text.removesuffix(ACS_LINES))
        except ValueError:
            number = -1
        if not text.endswith(ACS_LINES) and 0 <= number < 1:
            return cls(fraction=number)
        if number < 0 or not number.is_integer():
            raise InputError(
                f"centre {text!r}: give a whole number of ACS lines, such as 24, or a fraction, such as 0.08"
            )
        return cls(lines=int(number))

    @property
    def number(self) -> float:
        """The number that protocol files and options give: lines, or the fraction."""
        number = self.lines if self.fraction is None else self.fraction
        assert number is not None  # one of the two is given
        return number

    @property
    def name(self) -> str:
        """``24 ACS lines``, or ``center fraction 0.08``."""
        return str(self) if self.fraction is None else f"center fraction {self}"

    @property
    def order(self) -> tuple[bool, float]:
        """A key for sorting: numbers of lines before fractions, larger centres first."""
        return self.fraction is not None, -self.number

    def num_acs(self, num_lines: int) -> int:
        """ACS lines in a matrix of ``num_lines``; a fraction of them is rounded as fastMRI does."""
        return int(self.number) if self.fraction is None else round(num_lines * self.fraction)

    def __str__(self) -> str:
        """``24 ACS lines``, or ``0.08``."""
        if self.fraction is None:
            return f"{self.lines}{ACS_LINES}"
        # two digits, as published tables have them; more where the fraction has more
        short = f"{self.fraction:.2f}"
        return short if float(short) == self.fraction else f"{self.fraction:g}"
