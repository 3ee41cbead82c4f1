"""The plan of a data set: which studies, in which order, and what is made of each.

A plan says nothing about machines, workers or time: the same plan gives the same digest, and its
parts the same keys, wherever and however often it is carried out.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from dataclasses import field as dataclass_field
from typing import TYPE_CHECKING, Any

import drr
from drr.checks import Recorded, did_you_mean
from drr.datasets.privacy.identifying import identifying
from drr.datasets.schema import SCHEMA_VERSION, DatasetError
from drr.geometry.geometry import Geometry
from drr.geometry.views import View, parse_view
from drr.looks import attenuation_from_dict, find_look
from drr.patient.plausible import check_accept
from drr.physics.detector import Detector
from drr.randomise.policy import Draw, Policy
from drr.sharing import kept_property

if TYPE_CHECKING:
    from drr.datasets.study import Cohort, Study
    from drr.physics.attenuation import Attenuation
    from drr.physics.beam import Beam

__all__ = ["QUANTITIES", "Configuration", "Plan", "public_metadata", "public_series"]

QUANTITIES = ("uint16", "float32", "none")
"""How line integrals are stored: with a step of their own, as they are, or not at all."""

_DRR_RATE_VIEWS = ("ap", "lateral")
_UID = re.compile(r"[0-9]+(\.[0-9]+){3,}")


@dataclass(frozen=True, kw_only=True)
class Configuration(Recorded):
    """What is made of every study.

    Parameters
    ----------
    views
        Views by name, as `View` or as `Geometry`; `ap` and `lateral` for the look `drr-rate`.
    view_names
        Names of the views' groups in the file; a view's own label by default.
    look, attenuation, detector, field, method, backend, anti_aliasing
        As `drr.project` takes them.
    clean
        Whether couch, blanket and padding become air.
    accept
        What is taken although it is implausible: `values` that are not HU, a `size` of no patient.
    display
        Fields of a `Window` in place of the look's display, and its `invert`.
    policy
        Random variations; every view of every sample has its own.
    seed
        Seed of variations and noise. What is drawn depends on it and the sample's name only.
    pictures
        Whether grey-level pictures are stored.
    line_integrals
        One of `QUANTITIES`.
    masks
        Labels of the segmentation whose thickness along every ray is stored; none by default.
    compression
        Level of DEFLATE, 0 (none) to 9.
    keep_identifiers
        Keep dates, UIDs and names that the source states of a study.
    unlinkable
        Mix the CT's digests with the salt of the key file (`drr.datasets.privacy.pseudonyms`), so
        that nobody who has the CTs can look up which one a sample was made from by its digest.

    Raises
    ------
    DatasetError, DRRError
        For values that cannot be, by name.
    """

    error = DatasetError
    unknown_key = "a configuration has no key {key!r}{question}"
    parts = {"detector": Detector, "policy": Policy}  # noqa: RUF012 - never changed

    views: tuple[str | View | Geometry, ...] = ("pa",)
    view_names: tuple[str, ...] = ()
    look: str = "film"
    attenuation: Attenuation | Beam | None = None
    detector: Detector | None = None
    field: str | None = None
    method: str = "shear-warp"
    backend: str = "cpu"
    anti_aliasing: bool = True
    clean: bool = True
    accept: tuple[str, ...] = ()
    display: Mapping[str, Any] = dataclass_field(default_factory=dict)
    policy: Policy | None = None
    seed: int = 0
    pictures: bool = True
    line_integrals: str = "uint16"
    masks: tuple[int, ...] = ()
    compression: int = 4
    keep_identifiers: bool = False
    unlinkable: bool = False

    def __post_init__(self) -> None:
        from drr.kernels.cpu.projection.labels import MAX_LABELS
        from drr.projector import choose_backend

        recipe = find_look(self.look).recipe
        given: Any = self.views  # one name alone is taken, too
        views = (given,) if isinstance(given, str) else tuple(given)
        if not views:
            raise DatasetError("no views were asked for; name at least one, such as 'pa'")
        if recipe:
            views = tuple(view.lower() if isinstance(view, str) else view for view in views)
            if wrong := [view for view in views if view not in _DRR_RATE_VIEWS]:
                raise DatasetError(
                    f"the look 'drr-rate' has the views 'ap' and 'lateral', not {wrong[0]!r}"
                )
        else:
            views = tuple(
                view if isinstance(view, Geometry) else parse_view(view) for view in views
            )
        self._set(views=views)
        names = tuple(self.view_names) or tuple(map(_label, views, range(len(views))))
        for name in names:
            if not isinstance(name, str) or not re.fullmatch(r"[^/\0]+", name) or name[0] == ".":
                raise DatasetError(
                    f"{name!r} cannot name a view in the file; leave out '/' and '.'"
                )
        if len(names) != len(views) or len(set(names)) < len(names):
            raise DatasetError(f"{len(views)} views need as many different names, got {names}")
        self._set(view_names=names)
        # The one that runs, not `auto`: it belongs to what the images are.
        self._set(backend=choose_backend(self.backend))
        self._set(accept=check_accept(self.accept))
        self._set(display=dict(self.display))
        if self.line_integrals not in QUANTITIES:
            hint = did_you_mean(self.line_integrals, QUANTITIES)
            raise DatasetError(
                f"line integrals cannot be stored as {self.line_integrals!r}"
                f"{hint}; use one of "
                f"{', '.join(QUANTITIES)}"
            )
        if self.line_integrals == "none" and not self.pictures:
            raise DatasetError("neither pictures nor line integrals would be stored; keep one")
        self._set(masks=tuple(self.masks))
        if any(type(label) is not int or not 0 < label < MAX_LABELS for label in self.masks) or (
            len(set(self.masks)) < len(self.masks)
        ):
            raise DatasetError(
                f"masks are different labels of a segmentation from 1 to {MAX_LABELS - 1}, got "
                f"{self.masks}"
            )
        if self.masks and recipe:
            raise DatasetError("the look 'drr-rate' has no masks; choose another look")
        if type(self.compression) is not int or not 0 <= self.compression <= 9:
            raise DatasetError(f"compression is a level from 0 to 9, got {self.compression!r}")
        if type(self.seed) is not int or self.seed < 0:
            raise DatasetError(f"seed must be a whole number, zero or more, got {self.seed!r}")

    def sample_seed(self, sample: str) -> int:
        """Seed of a sample's noise: no two samples share it, and no other sample changes it."""
        return _hash_number("noise", self.seed, sample)

    def draw(self, sample: str, view_name: str) -> Draw | None:
        """Random variations of one view of one sample."""
        if self.policy is None:
            return None
        return self.policy.draw(self.seed, _hash_number("draw", sample, view_name))

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Configuration:
        """Inverse of `to_dict`.

        Raises
        ------
        DatasetError
            For a key that does not exist, with the nearest that does.
        """
        options = dict(values)
        options["views"] = tuple(_view_from(view) for view in options.get("views", ("pa",)))
        options["view_names"] = tuple(options.get("view_names", ()))
        options["accept"] = tuple(options.get("accept", ()))
        options["masks"] = tuple(options.get("masks", ()))
        if options.get("attenuation") is not None:
            options["attenuation"] = attenuation_from_dict(options["attenuation"])
        return super().from_dict(options)


@dataclass(frozen=True, kw_only=True)
class Plan:
    """A cohort and what is made of it.

    Parameters
    ----------
    cohort
        The studies, in the order of the file.
    configuration
        The same for all.
    """

    cohort: Cohort
    configuration: Configuration

    @kept_property
    def digest(self) -> str:
        """SHA-256 of everything but where the source lies."""
        return _digest(
            {
                "schema_version": SCHEMA_VERSION,
                "drr": drr.__version__,
                "cohort": self.cohort.digest,
                "configuration": self.configuration.to_dict(),
            }
        )

    @kept_property
    def keys(self) -> tuple[str, ...]:
        """A key of every study's part, from what its images depend on and nothing else.

        Labels, reports and whose CT it is may change, and the images stay.
        """
        shared = _digest(
            {
                "schema_version": SCHEMA_VERSION,
                "drr": drr.__version__,
                "configuration": self.configuration.to_dict(),
            }
        )
        return tuple(
            _digest({"shared": shared, "study": _images_from(study)})[:32]
            for study in self.cohort.studies
        )


def _images_from(study: Study) -> dict[str, Any]:
    """What of a study its images depend on, besides the content of its files."""
    found = {n: getattr(study, n) for n in ("sample", "path", "series", "reader", "segmentation")}
    # CT-RATE's tables say how its stored values become HU.
    return found | {"metadata": {} if study.reader == "any" else dict(study.metadata)}


def public_metadata(study: Study, *, keep_identifiers: bool) -> dict[str, str]:
    """The study's other columns, without dates, UIDs and names unless they are to be kept."""
    return {
        key: value
        for key, value in study.metadata.items()
        if keep_identifiers or not (identifying(key) or _UID.fullmatch(value.strip()))
    }


def public_series(study: Study, *, keep_identifiers: bool) -> str:
    """The study's series, unless it is stated as a UID."""
    series = study.series or ""
    return series if keep_identifiers or not _UID.fullmatch(series) else ""


def _label(view: str | View | Geometry, place: int) -> str:
    if isinstance(view, View):
        return view.label
    return view if isinstance(view, str) else f"geometry{place + 1}"


def _view_from(value: Any) -> str | View | Geometry:
    if not isinstance(value, Mapping):
        return value
    # Only a geometry has a detector with a place.
    return Geometry.from_dict(value) if "detector_center" in value else View.from_dict(value)


def _digest(values: Any) -> str:
    text = json.dumps(values, sort_keys=True, ensure_ascii=True)
    return hashlib.sha256(text.encode("ascii")).hexdigest()


def _hash_number(*words: object) -> int:
    digest = hashlib.sha256("\0".join(map(str, words)).encode()).digest()
    return int.from_bytes(digest[:4], "big")
