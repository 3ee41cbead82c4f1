"""Where a command writes: one file, a folder or a template, checked before any work is done."""

from __future__ import annotations

import contextlib
import os
import re
import string
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from drr.errors import WriteError

__all__ = ["SUFFIXES", "Output", "check_outputs", "known_suffix", "output_folders", "plan_outputs"]

# As in drr.io.write.FORMATS, which cannot be imported without NumPy; a test holds them together.
SUFFIXES: Mapping[str, tuple[str, ...]] = {
    "png": (".png",),
    "tiff": (".tif", ".tiff"),
    "npy": (".npy",),
    "npz": (".npz",),
    "nifti": (".nii.gz", ".nii"),
    "metaimage": (".mha",),
    "dx": (".dcm",),
    "rt-image": (".dcm",),
}

_SEPARATORS = (os.sep, os.altsep) if os.altsep else (os.sep,)


@dataclass(frozen=True)
class Output:
    """One image file.

    Parameters
    ----------
    path
        The image; its JSON record is `<path>.json`.
    format
        A key of `SUFFIXES`.
    thickness_path
        Where `drr.write` puts the labels' thickness if any were projected; None inside the image.
    """

    path: Path
    format: str

    @property
    def record_path(self) -> Path:
        return self.path.with_name(self.path.name + ".json")

    @property
    def thickness_path(self) -> Path | None:
        if self.format == "npz":
            return None
        name = self.path.name[: -len(known_suffix(self.path.name))]
        return self.path.with_name(f"{name}_thickness.nii.gz")

    def files(self, *, thickness: bool) -> list[Path]:
        """Everything that is written for this image."""
        beside = [self.thickness_path] if thickness and self.thickness_path else []
        return [self.path, self.record_path, *beside]


def plan_outputs(
    out: str | None, names: Sequence[str], views: Sequence[str], formats: Sequence[str]
) -> list[list[list[Output]]]:
    """Files of every CT and view: `plan[ct][view]` has one `Output` per format.

    Parameters
    ----------
    out
        A file, a folder, a template with `{name}` and `{view}`, or None for the current folder.
    names, views
        Names of the CTs and labels of the views.
    formats
        Keys of `SUFFIXES`; empty to go by the suffix of `out`, else PNG.

    Raises
    ------
    WriteError
        When two images would get one name, or `out` and the formats contradict each other.
    """
    several = len(names) * len(views) > 1
    template = _template(out, several=several)
    suffix = known_suffix(template)
    if suffix and formats:
        for name in formats:
            if suffix.lower() not in SUFFIXES[name]:
                raise WriteError(
                    f"{out}: {name} images cannot have the suffix {suffix}; leave out --format, or "
                    "give a folder or a template without a suffix, such as '{name}_{view}'"
                )
    if suffix:
        formats = formats or [_format_of(suffix)]
        template = template[: -len(suffix)]
    formats = list(dict.fromkeys(formats)) or ["png"]
    plan = []
    for name in names:
        of_views = []
        for view in views:
            stem = template.format(name=name, view=_safe(view))
            of_views.append([Output(Path(stem + end), f) for f, end in _ends(formats, suffix)])
        plan.append(of_views)
    paths = Counter(o.path for of_views in plan for outputs in of_views for o in outputs)
    twice = next((path for path, count in paths.items() if count > 1), None)
    if twice is not None:
        raise WriteError(
            f"{twice}: several images would be written to this file; give every view once, and a "
            "folder or a template with {name} and {view} for -o"
        )
    return plan


def check_outputs(paths: Iterable[Path], *, force: bool, inputs: Iterable[Path] = ()) -> None:
    """Refuse what cannot be written, before anything is read or projected.

    Inputs are never replaced, `force` or not.

    Raises
    ------
    WriteError
        For files that exist (all of them counted, unless `force`), an input, a folder in a file's
        place, a place that is not writable.
    """
    paths = list(dict.fromkeys(paths))
    sources = {os.path.realpath(path) for path in inputs}
    for path in paths:
        if os.path.realpath(path) in sources:
            raise WriteError(f"{path}: is an input; choose another name for the image")
        if path.is_dir():
            raise WriteError(f"{path}: is a folder; choose another name for the image")
    existing = [path for path in paths if os.path.lexists(path)]
    if existing and not force:
        others = len(existing) - 1
        too = f" and {others} more of the outputs" if others else ""
        raise WriteError(
            f"{existing[0]}{too} would be overwritten; choose another place with -o, or pass "
            "--force to replace what is there"
        )
    for folder in dict.fromkeys(path.parent for path in paths):
        above = next(p for p in (folder, *folder.absolute().parents) if os.path.lexists(p))
        if not above.is_dir():
            raise WriteError(f"{above}: is a file, so nothing can be written below it")
        if not os.access(above, os.W_OK | os.X_OK):
            raise WriteError(f"{above}: is not writable; choose another place with -o")


@contextmanager
def output_folders(paths: Iterable[Path]) -> Iterator[None]:
    """Make the folders that outputs need; those that stay empty are removed again.

    Raises
    ------
    WriteError
        When a folder cannot be made.
    """
    made: list[Path] = []
    try:
        for folder in dict.fromkeys(path.parent for path in paths):
            missing = [p for p in (folder, *folder.parents) if not p.is_dir()]
            for path in reversed(missing):
                try:
                    path.mkdir()
                except OSError as error:
                    raise WriteError(f"{path}: cannot be made: {error.strerror}") from None
                made.append(path)
        yield
    finally:
        for path in reversed(made):
            with contextlib.suppress(OSError):
                path.rmdir()  # refuses a folder with something in it


def _template(out: str | None, *, several: bool) -> str:
    """What to format with `name` and `view`; its own suffix, if known, is the format's."""
    default = "{name}_{view}"
    if out is None:
        return default
    if "{" in out or "}" in out:
        _check_template(out)
        return out + default if out.endswith(_SEPARATORS) else out
    if out.endswith(_SEPARATORS) or os.path.isdir(out):
        return os.path.join(out, default)
    if known_suffix(out):
        if several:
            raise WriteError(
                f"{out}: several images cannot share one file; give a folder, or a template such "
                f"as '{{name}}_{{view}}{known_suffix(out)}'"
            )
        return out
    suffix = os.path.splitext(out)[1]
    if re.fullmatch(r"\.[A-Za-z]\w{1,4}", suffix):
        known = ", ".join(dict.fromkeys(s for group in SUFFIXES.values() for s in group))
        raise WriteError(
            f"{out}: no image format has the suffix {suffix}; use one of {known}, or end the name "
            f"of a folder with {os.sep}"
        )
    return os.path.join(out, default)


def _check_template(template: str) -> None:
    try:
        parts = list(string.Formatter().parse(template))
    except ValueError as error:
        raise WriteError(f"{template}: is not a template: {error}") from None
    for _, field, spec, conversion in parts:
        if field is not None and (field not in ("name", "view") or spec or conversion):
            raise WriteError(
                f"{template}: a template knows {{name}} and {{view}}, not {{{field}}}; double "
                "braces that belong to the name"
            )


def _ends(formats: Sequence[str], suffix: str) -> Iterator[tuple[str, str]]:
    """Format and end of file name; of two formats with one suffix the second is named."""
    used: set[str] = set()
    for name in formats:
        end = suffix or SUFFIXES[name][0]
        yield name, (end if end not in used else f"_{name}{end}")
        used.add(end)


def known_suffix(name: str) -> str:
    """The end of a file name that tells an image format, as it is spelt; empty if none."""
    base = re.split(r"[/\\]", name)[-1].lower()
    suffixes = sorted((s for group in SUFFIXES.values() for s in group), key=len, reverse=True)
    found = next((s for s in suffixes if base.endswith(s) and base != s), "")
    return name[-len(found) :] if found else ""


def _format_of(suffix: str) -> str:
    return next(name for name, group in SUFFIXES.items() if suffix.lower() in group)


def _safe(label: str) -> str:
    """A view's label as part of a file name."""
    return re.sub(r"[^\w.+-]+", "-", label)
