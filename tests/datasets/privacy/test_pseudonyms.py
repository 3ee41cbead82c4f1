"""Names of folders and files in what is made from them: pseudonyms, and a key apart."""

from __future__ import annotations

import csv
import json
import os
import shutil
import stat
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest
from click.testing import CliRunner, Result
from dicom_files import save_series
from PIL import Image

from drr.cli import main
from drr.datasets.build.build import build, parts_folder
from drr.datasets.build.plan import Configuration, Plan
from drr.datasets.build.verify import verify
from drr.datasets.loaders.store import PreparedStore, prepare_store
from drr.datasets.phantom.nifti import nifti_bytes
from drr.datasets.phantom.thorax import thorax
from drr.datasets.privacy.pseudonyms import key_beside, open_key, pseudonymised, read_places
from drr.datasets.schema import DatasetError
from drr.datasets.sources.open import open_source
from drr.geometry.views import parse_view

posix = pytest.mark.skipif(sys.platform == "win32", reason="files cannot be called so there")
OPTIONS = ("--pixels", "32", "--workers", "1")
PERSONS = ("mueller", "hans", "19600101", "123456789", "schmidt", "anna", "meier", "huber")


@pytest.fixture(scope="module")
def ct() -> bytes:
    return nifti_bytes(thorax(32), Path("ct.nii.gz"))


@pytest.fixture
def scans(tmp_path: Path, ct: bytes) -> Path:
    """CTs called after patients: two good ones, a damaged one, a dead link, a label map."""
    root = tmp_path / "from_dr_weber"
    for name in ("MUELLER_HANS_19600101/123456789/thorax.nii.gz", "Huber.nii.gz", "meier_seg.nii"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(ct)
    (root / "SCHMIDT_ANNA").mkdir()
    (root / "SCHMIDT_ANNA" / "ct_schmidt.nii.gz").write_bytes(ct[: len(ct) // 2])
    (root / "meier.nii.gz").symlink_to("nowhere_meier")
    return root


def run(*words: object) -> Result:
    return CliRunner().invoke(main, [str(word) for word in words])


def plan(root: Path, **options: object) -> Plan:
    view = parse_view("pa", shape=(24, 24))
    cohort = open_source(root)
    return Plan(cohort=cohort, configuration=Configuration(views=(view,), **options))  # type: ignore[arg-type]


def told(*paths: Path, words: tuple[str, ...] = (*PERSONS, "weber")) -> list[str]:
    """Which words are in files, their names, or those of folders."""
    files = [f for p in paths for f in ([p] if p.is_file() else sorted(p.rglob("*")))]
    content = b"\n".join(f.read_bytes() for f in files if f.is_file()).lower()
    content += "\n".join(f.name for f in files).lower().encode()
    for picture in (f for f in files if f.suffix == ".png"):
        with Image.open(picture) as image:  # its texts are compressed
            content += repr(image.info).lower().encode()
    return [word for word in words if word.encode() in content]


def column(out: Path, name: str) -> list[str]:
    with h5py.File(out) as file:
        return [str(value) for value in file[name].asstr()[...]]


def test_nothing_that_travels_tells_a_name(scans: Path, tmp_path: Path) -> None:
    out, page = tmp_path / "o.h5", tmp_path / "o.html"
    result = run("build", scans, "-o", out, *OPTIONS, "--keep-parts")
    assert result.exit_code == 0, result.output
    # The user sees which CT is meant.
    assert "SCHMIDT_ANNA/ct_schmidt.nii.gz" in result.stderr
    assert "meier.nii.gz" in result.stderr
    assert run("report", out, "-o", page).exit_code == 0
    exports = []
    for layout in ("png", "drr-rate", "chexpert", "torchxrayvision"):
        exports.append(tmp_path / layout)
        done = run("export", out, "--format", layout, "-o", exports[-1], "--view", "pa=PA")
        assert done.exit_code == 0, done.output
    written = [out, page, tmp_path / "o.h5.log", parts_folder(out), *exports]
    assert all(path.exists() for path in written)
    assert told(*written, words=(*PERSONS, "weber", str(tmp_path))) == []
    assert len(column(out, "samples/name")) == 2
    assert column(out, "samples/path") == column(out, "samples/name")
    assert "truncated" in column(out, "failures/reason")[0]
    assert column(out, "failures/reason")[0].startswith(column(out, "failures/name")[0])
    assert "leads nowhere" in column(out, "problems/reason")[0]


def test_the_key_tells_and_is_its_owners_alone(scans: Path, tmp_path: Path) -> None:
    out = tmp_path / "o.h5"
    build(plan(scans), out, workers=1)
    key = key_beside(out)
    places = read_places(key)
    names = column(out, "samples/name")
    assert names == sorted(names)
    assert {places[name].path for name in names} == {
        "MUELLER_HANS_19600101/123456789/thorax.nii.gz",
        "Huber.nii.gz",
    }
    assert len(set(column(out, "samples/patient"))) == 2
    if os.name != "nt":
        assert stat.S_IMODE(key.stat().st_mode) == 0o600
    with key.open() as file:
        rows = list(csv.DictReader(file))
    assert [row["kind"] for row in rows].count("salt") == 1
    # Only with the key: the data set is sound without, and its CTs are found with it.
    verdict = verify(out, source=scans, remake=2)
    assert verdict.problems == ()
    apart = tmp_path / "apart.csv"
    key.rename(apart)
    assert verify(out).problems == ()
    assert "is its key" in verify(out, source=scans, remake=1).problems[0]
    assert verify(out, source=scans, remake=2, key=apart).problems == ()


def test_the_same_pseudonyms_with_the_key_and_others_without(scans: Path, tmp_path: Path) -> None:
    out, other = tmp_path / "o.h5", tmp_path / "other.h5"
    first = build(plan(scans), out, workers=1)
    key = key_beside(out)
    written = key.read_bytes()
    assert build(plan(scans), out, workers=1).made == 0
    assert key.read_bytes() == written
    # The same content with the same key; a random key is another.
    assert build(plan(scans), other, workers=1, key=key).digest == first.digest
    assert not key_beside(other).exists()
    assert build(plan(scans), tmp_path / "third.h5", workers=1).digest != first.digest
    assert not set(column(out, "samples/name")) & set(column(tmp_path / "third.h5", "samples/name"))
    # A cohort that grew keeps its names.
    shutil.copy(scans / "Huber.nii.gz", scans / "Zimmermann.nii.gz")
    grown = build(plan(scans), out, workers=1, force=True)
    assert grown.samples == 3
    assert set(column(other, "samples/name")) < set(column(out, "samples/name"))


def test_a_lost_key_is_said(scans: Path, tmp_path: Path) -> None:
    out = tmp_path / "o.h5"
    build(plan(scans), out, workers=1)
    key = key_beside(out)
    key.rename(tmp_path / "kept.csv")
    with pytest.raises(DatasetError, match=r"o\.h5\.key\.csv: is missing"):
        build(plan(scans), out, workers=1)
    assert not key.exists()
    assert build(plan(scans), out, workers=1, key=tmp_path / "kept.csv").made == 0
    assert build(plan(scans), out, workers=1, force=True).made == 3
    for content in (
        b"",
        b"a,b\n",
        b"kind,pseudonym,name\n",
        b"kind,pseudonym,name\nsalt,,00\n",
        b"\0",
    ):
        key.write_bytes(content)
        with pytest.raises(DatasetError, match="key"):
            build(plan(scans), out, workers=1)
        assert key.read_bytes() == content


def test_an_interrupted_build_goes_on_with_its_names(scans: Path, tmp_path: Path) -> None:
    out = tmp_path / "o.h5"
    whole = build(plan(scans), tmp_path / "whole.h5", workers=1)

    def stop(progress: object) -> None:
        if getattr(progress, "finished", 0) == 1:
            raise KeyboardInterrupt

    shutil.copy(key_beside(tmp_path / "whole.h5"), key_beside(out))
    with pytest.raises(KeyboardInterrupt):
        build(plan(scans), out, workers=1, report=stop)
    assert not out.exists()
    result = build(plan(scans), out, workers=1)
    assert result.made < 3
    assert result.digest == whole.digest


def test_a_build_that_began_needs_its_key(scans: Path, tmp_path: Path) -> None:
    out = tmp_path / "o.h5"
    build(plan(scans), out, workers=1, keep_parts=True)
    out.unlink()
    key_beside(out).unlink()
    with pytest.raises(DatasetError, match="is missing"):
        build(plan(scans), out, workers=1)
    assert build(plan(scans), out, workers=1, force=True).made == 3


def test_no_candidate_can_be_hashed(scans: Path, tmp_path: Path) -> None:
    """Two keys give two pseudonyms of one path; of 80 bits, after the kind's letter."""
    cohort = open_source(scans)
    keys = [open_key(tmp_path / name) for name in ("a", "b")]
    one, two = (pseudonymised(cohort, key) for key in keys)
    assert {s.sample for s in one.studies}.isdisjoint(s.sample for s in two.studies)
    assert all(len(s.sample) == 21 and s.sample[0] == "s" for s in one.studies)
    assert one.digest != two.digest
    assert not list(tmp_path.glob("[ab]"))


def test_names_are_kept_if_asked(scans: Path, tmp_path: Path) -> None:
    out = tmp_path / "o.h5"
    result = run("build", scans, "-o", out, *OPTIONS, "--keep-names")
    assert result.exit_code == 0, result.output
    assert column(out, "samples/name") == ["Huber", "MUELLER_HANS_19600101_123456789_thorax"]
    assert column(out, "samples/path")[0] == "Huber.nii.gz"
    assert column(out, "problems/name") == ["meier.nii.gz"]
    assert not key_beside(out).exists()
    assert told(out, tmp_path / "o.h5.log", words=(str(tmp_path), "weber")) == []


ODD = ("tab\there.nii.gz", "line\nfeed.nii.gz", "a:b.nii.gz", "back\\slash.nii.gz", "=cmd.nii.gz",
       "no\udcfftext.nii.gz", "\u202exof.nii.gz", "- x.nii.gz", "con.nii.gz", "a'b\".nii.gz",
       "\r.nii.gz", "a_b.nii.gz", "a/b.nii.gz")  # fmt: skip


@posix
def test_files_may_be_called_anything(tmp_path: Path, ct: bytes) -> None:
    root, out = tmp_path / "scans", tmp_path / "o.h5"
    for name in ODD:
        (root / name).parent.mkdir(exist_ok=True, parents=True)
        (root / name).write_bytes(ct)
    result = run("build", root, "-o", out, *OPTIONS)
    assert result.exit_code == 0, result.output
    assert f"{len(ODD)} samples, 0 failures" in result.stdout
    places = read_places(key_beside(out))
    assert {place.path for place in places.values()} == set(ODD)
    assert verify(out, source=root, remake=len(ODD)).problems == ()
    # Where names are kept, those that cannot be written are problems, and the others are built.
    kept = tmp_path / "kept.h5"
    result = run("build", root, "-o", kept, *OPTIONS, "--keep-names")
    assert result.exit_code == 0, result.output
    assert "\t" not in result.output
    assert "\u202e" not in result.output
    assert len(column(kept, "samples/name")) + len(column(kept, "problems/name")) == len(ODD)
    assert len(column(kept, "samples/name")) == 6
    assert verify(kept, source=root, remake=6).problems == ()
    assert any("same sample name" in reason for reason in column(kept, "problems/reason"))


def test_a_table_keeps_what_it_states_and_no_path(scans: Path, tmp_path: Path) -> None:
    table = scans / "list.csv"
    table.write_text(
        "path,sample,patient,Nachname,Geburtsdatum,Kernel\n"
        "MUELLER_HANS_19600101/123456789/thorax.nii.gz,one,p1,Mueller,1960,B30f\n"
        "Huber.nii.gz,,p2,Huber,1961,B70f\n"
        "SCHMIDT_ANNA/ct_schmidt.nii.gz,three,p3,Schmidt,1962,\n"
        "SCHMIDT_ANNA/none.nii.gz,,p4,Schmidt,1962,\n"
    )
    out = tmp_path / "o.h5"
    result = run("build", table, "-o", out, *OPTIONS)
    assert result.exit_code == 0, result.output
    assert told(out, tmp_path / "o.h5.log") == []
    names = column(out, "samples/name")
    assert names[0] == "one"
    assert names[1].startswith("s")
    assert column(out, "samples/patient") == ["p1", "p2"]
    assert column(out, "samples/metadata") == ['{"Kernel": "B30f"}', '{"Kernel": "B70f"}']
    assert "Nachname, Geburtsdatum" in column(out, "notes")[0]
    assert column(out, "failures/name") == ["three"]
    assert column(out, "problems/place") == ["row 5"]
    assert "there is no such file" in column(out, "problems/reason")[0]
    assert verify(out, source=scans, remake=2).problems == ()


def test_a_tables_names_need_no_key_to_be_the_same(scans: Path, tmp_path: Path) -> None:
    table = scans / "list.csv"
    table.write_text("path,sample,patient,segmentation\nHuber.nii.gz,one,p1,meier_seg.nii\n")
    digests = {build(plan(table), tmp_path / n, workers=1).digest for n in ("a.h5", "b.h5")}
    assert len(digests) == 1
    assert column(tmp_path / "a.h5", "samples/segmentation") == ["one_segmentation"]
    assert told(tmp_path / "a.h5") == []


def test_folders_of_dicom(tmp_path: Path) -> None:
    root = tmp_path / "scans"
    stored = np.arange(5 * 24 * 24, dtype=np.int16).reshape(5, 24, 24)
    for name in ("MUELLER_HANS/19600101", "SCHMIDT"):
        (root / name).mkdir(parents=True)
        save_series(root / name, stored)
    for number, file in enumerate(sorted((root / "SCHMIDT").iterdir())):
        whole = file.read_bytes()
        file.with_name(f"schmidt_{number:04d}").write_bytes(whole[: len(whole) // 2])
        file.unlink()
    cohort = open_source(root)
    public = pseudonymised(cohort, open_key(tmp_path / "key"))
    text = json.dumps(public.to_dict()).lower()
    assert not [word for word in PERSONS if word in text]
    assert len(public.studies) + len(public.problems) == 2


def test_dicom_in_the_source_itself(tmp_path: Path) -> None:
    root = tmp_path / "MUELLER_HANS"
    root.mkdir()
    save_series(root, np.arange(5 * 6 * 7, dtype=np.int16).reshape(5, 6, 7))
    cohort = open_source(root)
    assert cohort.studies[0].file(root).resolve() == root
    assert open_source(root, keep_names=True).studies[0].sample == "MUELLER_HANS"
    public = pseudonymised(cohort, open_key(tmp_path / "key"))
    assert "mueller" not in json.dumps(public.to_dict()).lower()


def test_a_store_tells_no_name(scans: Path, tmp_path: Path) -> None:
    folder = tmp_path / "store"
    result = run("prepare", scans, "-o", folder)
    assert result.exit_code == 0, result.output
    assert "SCHMIDT_ANNA/ct_schmidt.nii.gz" in result.stderr
    assert told(folder, words=(*PERSONS, "weber", str(tmp_path))) == []
    store = PreparedStore(folder)
    assert len(store) == 2
    assert next(iter(store.failures.values())).startswith(next(iter(store.failures)))
    before = sorted(path.name for path in folder.iterdir())
    prepare_store(open_source(scans), folder)
    assert sorted(path.name for path in folder.iterdir()) == before
    key_beside(folder).unlink()
    with pytest.raises(DatasetError, match="is missing"):
        prepare_store(open_source(scans), folder)
    kept = tmp_path / "kept"
    assert run("prepare", scans, "-o", kept, "--keep-names").exit_code == 0
    assert (kept / "Huber" / "hu.npy").exists()
    assert str(tmp_path) not in (kept / "store.json").read_text()
