"""Option values of more than one number, such as `350x430`, and options of several commands."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

from drr.patient.plausible import ACCEPTABLE

__all__ = ["DETECTOR_SIZE", "PIXELS", "WINDOW", "accept_option", "reading_options"]

_Function = TypeVar("_Function", bound=Callable[..., Any])


class _Numbers(click.ParamType):
    """One or two numbers with a separator; a single one stays single.

    Parameters
    ----------
    name
        Shown in the help.
    kind
        `float` or `int`.
    separator
        Between the two.
    single
        Whether one number will do.
    example
        For messages.
    """

    def __init__(self, name: str, kind: Any, separator: str, single: bool, example: str) -> None:
        self.name = name
        self.kind = kind
        self.separator = separator
        self.single = single
        self.example = example

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[Any, ...]:
        if not isinstance(value, str):
            return tuple(value)
        try:
            numbers = tuple(self.kind(part) for part in value.lower().split(self.separator))
        except ValueError:
            numbers = ()
        if len(numbers) not in ((1, 2) if self.single else (2,)):
            self.fail(f"{value!r} is not of the form {self.example}", param, ctx)
        return numbers


class _Window(_Numbers):
    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[Any, ...]:
        return () if value == "auto" else super().convert(value, param, ctx)


DETECTOR_SIZE = _Numbers("HxW", float, "x", True, "350x430 (mm, height first) or 430")
PIXELS = _Numbers("N|RxC", int, "x", True, "1024 or 833x1024 (rows first)")
accept_option = click.option(
    "--accept",
    type=click.Choice(ACCEPTABLE),
    multiple=True,
    help="Take a CT although its values are not HU, or its size is no patient's. Repeatable.",
)

WINDOW = _Window("CENTER,WIDTH", float, ",", False, "'2.5,4' or 'auto'")
"""`auto` is the empty tuple."""


def reading_options(function: _Function) -> _Function:
    """Add the options of `drr.read` on what to read, and how far a header is to be trusted."""
    acquisition = click.option(
        "--acquisition", metavar="N", help="Which acquisition or phase of a DICOM series."
    )
    outside = click.option(
        "--outside",
        is_flag=True,
        help="Let a .mhd or .nhdr name data files outside its own folder.",
    )
    assume_axial = click.option(
        "--assume-axial",
        is_flag=True,
        help="Take a NRRD or DICOM slices that do not say where left, back and head are for "
        "axial. It mirrors the patient where that is wrong.",
    )
    return acquisition(outside(assume_axial(function)))
