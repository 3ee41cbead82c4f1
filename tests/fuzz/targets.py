"""What is damaged, how, and the command that gets it."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from fuzz import seeds
from fuzz.mutations import (
    damage_bytes,
    damage_dicom,
    damage_hdf5,
    damage_json,
    damage_text,
)
from fuzz.seeds import Files

__all__ = ["TARGETS", "Target", "unlike_nibabel"]

Mutation = Callable[[bytes, np.random.Generator], bytes]


@dataclass(frozen=True)
class Target:
    """A kind of input.

    Parameters
    ----------
    name
        What `--target` takes.
    make
        The sound files, by their paths.
    command
        Arguments of `drr`, or a function that does what a library's user would do; either is run
        in the folder of the files.
    mutation
        Damages the bytes of one file.
    damage
        The files that may be damaged; all of them where it is empty.
    check
        What is wrong with the command's work in a folder, where it succeeded; empty for nothing.
    may_stay
        Files that a refused command may leave.
    many_errors
        Whether a refusal may have several lines, one for each problem.
    names_file
        Whether a refusal must name a file; not where values are at fault that lead elsewhere.
    share
        How many inputs, relative to other targets.
    """

    name: str
    make: Callable[[], Files]
    command: tuple[str, ...] | Callable[[], object]
    mutation: Mutation = damage_bytes
    damage: tuple[str, ...] = ()
    check: Callable[[Path], str] = field(default=lambda _: "")
    may_stay: tuple[str, ...] = ()
    many_errors: bool = False
    names_file: bool = True
    share: float = 1.0

    def seed(self) -> Files:
        """The sound files, made once a process."""
        return _made(self.make)


@functools.cache
def _made(make: Callable[[], Files]) -> Files:
    return make()


def sound_volume(name: str, folder: Path) -> str:
    """What is wrong with a volume that was read: array, affine, digest, or unlike nibabel."""
    import drr
    from drr.volume import Volume

    volume, again = drr.read(folder / name, threads=1), drr.read(folder / name, threads=2)
    if volume.hu.dtype != np.int16 or volume.hu.ndim != 3 or not volume.hu.flags.c_contiguous:
        return f"voxels are {volume.hu.dtype} of shape {volume.hu.shape}"
    if not np.isfinite(volume.affine).all() or np.linalg.det(volume.affine[:3, :3]) == 0:
        return "an affine that is none"
    if volume.sha256 != again.sha256 or not np.array_equal(volume.affine, again.affine):
        return "two readings differ"
    if volume.sha256 != Volume(volume.hu.copy(), volume.affine, name="copy").sha256:
        return "a digest that is not of these voxels"
    suffixes = (".nii", ".nii.gz", ".hdr")
    return unlike_nibabel(folder / name, volume) if name.endswith(suffixes) else ""


def unlike_nibabel(path: Path, volume: Any) -> str:
    """Where nibabel reads the same file, voxels at the same places must have the same values."""
    import nibabel

    try:
        image = nibabel.load(path)
        if not _as_nibabel_takes_it(image):
            return ""
        values = np.asarray(image.dataobj, np.float64)
        to_index = np.linalg.inv(image.affine) @ np.diag([-1, -1, 1, 1])
    except Exception:
        return ""
    values = values.reshape([n for n in values.shape if n != 1] or [1])
    if values.ndim != 3 or len(image.shape) != 3:
        return ""
    random = np.random.default_rng(0)
    for _ in range(20):
        x, y, z = (int(random.integers(n)) for n in volume.hu.shape[::-1])
        at = np.rint(to_index @ volume.affine @ (x, y, z, 1))[:3].astype(int)
        if (at < 0).any() or (at >= values.shape).any():
            return "voxels lie elsewhere than nibabel puts them"
        expected = values[tuple(at)]
        # What is beyond int16 is padding or metal, and is noted.
        if abs(expected) < 30000 and volume.hu[z, y, x] != np.rint(expected):
            return f"HU {volume.hu[z, y, x]} where nibabel reads {expected}"
    return ""


def _as_nibabel_takes_it(image: Any) -> bool:
    """Whether nothing is read otherwise on purpose: units, unknown codes, voxels in the header."""
    header = image.header
    # nibabel sets codes that it does not know to 0, and an offset of 0 stays one.
    codes = int(header["sform_code"]), int(header["qform_code"])
    pair = "header" in image.file_map
    return (
        int(header["xyzt_units"]) & 7 in (0, 2)
        and any(codes)
        and (pair or image.dataobj.offset >= 352)
    )


def _exists(*names: str) -> Callable[[Path], str]:
    def check(folder: Path) -> str:
        missing = [name for name in names if not (folder / name).is_file()]
        return f"did not make {missing[0]}" if missing else ""

    return check


def _areas(folder: Path) -> str:
    result = json.loads((folder / "out.json").read_text())
    values = [finding["auroc"]["value"] for finding in result["classes"] if finding.get("auroc")]
    wrong = [v for v in values if v is not None and not 0 <= v <= 1]
    return f"an AUROC of {wrong[0]}" if wrong else ""


def _readers() -> Iterable[Target]:
    headers = damage_text
    made: dict[str, tuple[str, Callable[[], Files], Mutation]] = {
        "nifti": ("a.nii", seeds.nifti, damage_bytes),
        "nifti-big": ("a.nii", lambda: seeds.nifti(dtype=">i2"), damage_bytes),
        "nifti-float": ("a.nii", lambda: seeds.nifti(dtype="f4"), damage_bytes),
        "nifti-2": ("a.nii", lambda: seeds.nifti(version=2), damage_bytes),
        "nifti-gz": ("a.nii.gz", lambda: seeds.nifti("a.nii.gz"), damage_bytes),
        "nifti-pair": ("a.hdr", lambda: seeds.nifti("a.hdr", version=0), damage_bytes),
        "metaimage": ("a.mha", seeds.metaimage, headers),
        "metaimage-zlib": ("a.mha", lambda: seeds.metaimage(packed=True), headers),
        "metaimage-raw": ("a.mhd", lambda: seeds.metaimage("a.mhd"), headers),
        "metaimage-list": ("a.mhd", lambda: seeds.metaimage("a.mhd", slices="list"), headers),
        "metaimage-pattern": ("a.mhd", lambda: seeds.metaimage("a.mhd", slices="pattern"), headers),
        "nrrd": ("a.nrrd", seeds.nrrd, headers),
        "nrrd-gzip": ("a.nrrd", lambda: seeds.nrrd(encoding="gzip"), headers),
        "nrrd-bzip2": ("a.nrrd", lambda: seeds.nrrd(encoding="bzip2"), headers),
        "nrrd-ascii": ("a.nrrd", lambda: seeds.nrrd(encoding="ascii"), headers),
        "nrrd-detached": ("a.nhdr", lambda: seeds.nrrd("a.nhdr"), headers),
        "npz": ("a.npz", seeds.numpy, damage_bytes),
        "npz-deflate": ("a.npz", lambda: seeds.numpy(packed=True), damage_bytes),
        "dicom-zip": ("a.zip", lambda: seeds.zipped(seeds.dicom()), damage_bytes),
        "dicom-gzip": ("ct", lambda: seeds.gzipped(seeds.dicom()), damage_bytes),
    }
    for name, (file, make, mutation) in made.items():
        yield _reader(name, file, make, mutation)
    for syntax in seeds.DICOM_SYNTAXES:
        make = functools.partial(seeds.dicom, syntax)
        plain = syntax in ("explicit", "rle", "jpeg", "jpeg2000")
        slow = syntax.startswith("jpeg")
        mutation = damage_dicom if plain else damage_bytes
        # Each of these starts processes that decode.
        yield _reader(f"dicom-{syntax}", "ct", make, mutation, share=0.02 if slow else 1.5)


def _reader(
    name: str, file: str, make: Callable[[], Files], mutation: Mutation, *, share: float = 1.0
) -> Target:
    return Target(
        name,
        make,
        ("inspect", file, "--no-preview"),
        mutation,
        check=functools.partial(sound_volume, file),
        share=share,
    )


def _policy() -> Files:
    from drr.randomise.policy import policy

    return seeds.document("p.json", policy("chest").to_dict(), **seeds.nifti("ct.nii", size=16))


def _geometry() -> Files:
    files = seeds.record()
    geometry = json.loads(files["x.png.json"])["geometry"]
    return seeds.document("g.json", geometry, **{"ct.nii": files["ct.nii"]})


def _configuration(suffix: str) -> Files:
    options = {
        "source": "cohort.csv", "out": "set.h5", "view": ["pa", "ll"], "look": "film",
        "pixels": 16, "seed": 3, "limit": 1, "window": "2.5,4", "split": "train=0.5,valid=0.5",
    }  # fmt: skip
    if suffix == "json":
        return seeds.document("c.json", options, **seeds.cohort())
    import yaml

    return {"c.yaml": yaml.safe_dump(options).encode(), **seeds.cohort()}


def _others() -> Iterable[Target]:
    picture = ("-o", "y.png", "--pixels", "16")
    again = _exists("y.png", "y.png.json")
    yield Target(
        "record", seeds.record, ("project", "ct.nii", "--from", "x.png.json", "-o", "y.png"),
        damage_json, ("x.png.json",), again,
        names_file=False, share=0.5,
    )  # fmt: skip
    yield Target(
        "geometry", _geometry, ("project", "ct.nii", "--geometry", "g.json", "-o", "y.png"),
        damage_json, ("g.json",), again,
        names_file=False, share=0.5,
    )  # fmt: skip
    yield Target(
        "policy", _policy, ("project", "ct.nii", "--randomise", "p.json", *picture),
        damage_json, ("p.json",), again,
        names_file=False, share=0.5,
    )  # fmt: skip
    for suffix, mutation in (("json", damage_json), ("yaml", damage_text)):
        yield Target(
            f"configuration-{suffix}", functools.partial(_configuration, suffix),
            ("build", "--config", f"c.{suffix}", "--dry-run"), mutation, (f"c.{suffix}",),
            names_file=False, share=0.1,
        )  # fmt: skip
    yield Target(
        "cohort-table", seeds.cohort,
        ("build", "cohort.csv", "-o", "set.h5", "--pixels", "16", "--dry-run"), damage_text,
        ("cohort.csv",), share=0.1,
    )  # fmt: skip
    evaluate = ("evaluate", "p.csv", "--truth", "t.csv", "--draws", "0", "--json", "out.json")
    yield Target("tables", seeds.predictions, evaluate, damage_text, check=_areas, share=1)
    yield Target(
        "verify", seeds.data_set, ("verify", "set.h5"), damage_hdf5, many_errors=True, share=0.3
    )
    yield Target(
        "report", seeds.data_set, ("report", "set.h5", "-o", "r.html"), damage_hdf5,
        check=_exists("r.html"), share=0.3,
    )  # fmt: skip
    yield Target(
        "export", seeds.data_set, ("export", "set.h5", "--format", "png", "-o", "x"), damage_hdf5,
        share=0.3,
    )  # fmt: skip
    yield Target(
        "ct-rate", seeds.ct_rate,
        ("build", "ct-rate", "-o", "set.h5", "--pixels", "16", "--dry-run"), damage_text,
        tuple(name for name in seeds.CT_RATE_TABLES), share=0.1,
    )  # fmt: skip
    yield Target("store", seeds.store, ("prepare", "--check", "store"), _store_damage, share=1)


def _load_npy() -> None:
    import drr

    drr.read("a.npy", affine=np.diag([1, 1, 2, 1]))


def _load_store() -> None:
    from drr.datasets.loaders.projected import ProjectedDRRs

    samples = ProjectedDRRs("store", views="pa", shape=(16, 16))
    for index in range(len(samples)):
        samples[index]


def _load_data_set() -> None:
    from drr.datasets.loaders.stored import StoredDRRs

    samples = StoredDRRs("set.h5")
    for index in range(len(samples)):
        samples[index]


def _load_films() -> None:
    from drr.evaluate.films.films import Films

    films = Films("films")
    for index in range(len(films)):
        films[index]


def _load_recipe() -> None:
    from drr.train.recipe import find_recipe

    find_recipe("r.json")


def _recipe() -> Files:
    from drr.train.recipe import find_recipe

    return seeds.document("r.json", find_recipe("modern").to_dict())


def _in_python() -> Iterable[Target]:
    yield Target("npy", lambda: seeds.numpy("a.npy"), _load_npy)
    yield Target("store-loaded", seeds.store, _load_store, _store_damage, share=0.5)
    yield Target("data-set-loaded", seeds.data_set, _load_data_set, damage_hdf5, share=0.5)
    yield Target("films", seeds.films, _load_films, _film_damage)
    yield Target("recipe", _recipe, _load_recipe, damage_json)


def _film_damage(data: bytes, random: np.random.Generator) -> bytes:
    if data[128:132] == b"DICM":
        return damage_dicom(data, random)
    return damage_text(data, random) if data[:5] == b"Image" else damage_bytes(data, random)


def _store_damage(data: bytes, random: np.random.Generator) -> bytes:
    return damage_json(data, random) if data[:1] == b"{" else damage_bytes(data, random)


TARGETS: dict[str, Target] = {
    target.name: target for target in (*_readers(), *_others(), *_in_python())
}
