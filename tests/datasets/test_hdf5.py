"""Damaged and foreign HDF5 files: every reader of data sets refuses them in one line, in time."""

from __future__ import annotations

import shutil
import struct
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
from click.testing import CliRunner
from dataset_file import write_dataset
from tiny_cohort import write_cohort

from drr.cli import main
from drr.datasets import hdf5
from drr.datasets.build.build import build
from drr.datasets.build.plan import Configuration, Plan
from drr.datasets.build.verify import verify
from drr.datasets.export import export
from drr.datasets.hdf5 import look, open_dataset, reading
from drr.datasets.loaders.stored import StoredDRRs
from drr.datasets.schema import DatasetError
from drr.datasets.sources.ctrate import find_ct_rate
from drr.datasets.study import CohortError
from drr.errors import DRRError
from drr.evaluate.truth import read_truth
from drr.files.documents import parse_json
from drr.geometry.views import parse_view
from drr.pages.dataset import report_page

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("built")
    configuration = Configuration(views=(parse_view("pa", shape=(24, 24)),))
    plan = Plan(
        cohort=find_ct_rate(write_cohort(folder / "cohort", 3)), configuration=configuration
    )
    return build(plan, folder / "set.h5", workers=1).path


@pytest.fixture
def copy(built: Path, tmp_path: Path) -> Path:
    return Path(shutil.copy(built, tmp_path / "copy.h5"))


def readers(path: Path, out: Path) -> dict[str, Callable[[], object]]:
    return {
        "verify": lambda: verify(path),
        "report": lambda: report_page(path),
        "export": lambda: export(path, out / "x", layout="png"),
        "stored": lambda: [StoredDRRs(path)[i] for i in range(3)],
        "truth": lambda: read_truth(path),
    }


def test_a_sound_file_is_looked_at_once(copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert look(copy) == look(copy, complete=True) == look(copy, everything=False) == ()
    monkeypatch.setattr(hdf5, "_process", None)
    assert look(copy) == ()
    with h5py.File(copy, "a") as file:
        file.attrs["more"] = 1
    with pytest.raises(AttributeError):
        look(copy)


def test_what_is_no_data_set(tmp_path: Path) -> None:
    (tmp_path / "text.h5").write_text("text")
    h5py.File(tmp_path / "empty.h5", "w").close()
    for name, words in (
        ("none.h5", "there is no such file"),
        (".", "is a folder"),
        ("text.h5", "cannot be opened as HDF5"),
        ("empty.h5", "is not a data set"),
    ):
        with pytest.raises(DatasetError, match=words) as info:
            look(tmp_path / name)
        assert str(info.value).startswith(f"{tmp_path / name}: ")
    if Path("/dev/zero").exists():
        with pytest.raises(DatasetError, match="device"):
            look(Path("/dev/zero"))


def make_endless(path: Path) -> None:
    """Damage one number: the free space at the end of a heap of texts becomes 0 bytes long."""
    content = bytearray(path.read_bytes())
    heap = content.find(b"GCOL")
    (size,) = struct.unpack_from("<Q", content, heap + 8)
    place = heap + 16
    while place < heap + size:
        index, _, _, length = struct.unpack_from("<HHIQ", content, place)
        if index == 0:
            struct.pack_into("<Q", content, place + 8, 0)
            path.write_bytes(content)
            return
        place += 16 + -(-length // 8) * 8
    raise AssertionError("no heap with free space")


def test_what_libhdf5_does_not_get_through(
    copy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_endless(copy)
    monkeypatch.setattr(hdf5, "SECONDS", 2.0)
    for name, read in readers(copy, tmp_path).items():
        with pytest.raises(DRRError, match="HDF5 cannot get through it") as info:
            read()
        assert str(info.value).startswith(f"{copy}: "), name
    # The next file is looked at by a new process.
    with pytest.raises(DatasetError, match="no such file"):
        look(tmp_path / "none.h5")
    for command in (["verify", copy], ["report", copy], ["export", copy, "--format", "png", "-o",
                    tmp_path / "x"], ["evaluate", copy, "--truth", copy]):  # fmt: skip
        done = CliRunner().invoke(main, list(map(str, command)))
        assert done.exit_code == 2
        assert done.output.count("\n") == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["copy.h5"]


def replace(name: str, *arguments: object, **options: object) -> Callable[[h5py.File], None]:
    def change(file: h5py.File) -> None:
        del file[name]
        file.create_dataset(name, *arguments, **options)

    return change


def link(name: str, target: object) -> Callable[[h5py.File], None]:
    def change(file: h5py.File) -> None:
        del file[name]
        file[name] = target

    return change


def from_elsewhere(file: h5py.File) -> None:
    with h5py.File(Path(file.filename).with_name("other.h5"), "w") as other:
        other["age"] = np.zeros(3, np.float32)
    layout = h5py.VirtualLayout((3,), np.float32)
    layout[:] = h5py.VirtualSource("other.h5", "age", (3,))
    del file["samples/age"]
    file.create_virtual_dataset("samples/age", layout)


def cycle(file: h5py.File) -> None:
    file["views/pa/again"] = file["views"]


def reference(file: h5py.File) -> None:
    made = file.create_dataset("refs", (3,), h5py.ref_dtype)
    made[...] = [file["views"].ref] * 3
    file.move("samples/name", "old")
    file.move("refs", "samples/name")


def no_attribute(file: h5py.File) -> None:
    file.attrs["licence"] = np.zeros(3)


PICTURES = "views/pa/picture"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (replace("samples/name", data=np.arange(3.0)), "samples/name: holds float64, not text"),
        (replace("samples/name", data=np.array([b"a", b"b", b"c"])), "not text"),
        (replace("samples/name", (3,), h5py.vlen_dtype(np.int32)), "samples/name: holds"),
        (replace("samples/name", (), h5py.string_dtype(), data="x"), "has 0 axes"),
        (replace("samples/patient", (2,), h5py.string_dtype()), "2 rows where others have 3"),
        (replace("samples/labels", (3, 17), "i1"), "17 columns for 18 names"),
        (replace("samples/labels", (3,), "i1"), "has 1 axes, not 2"),
        (replace("samples/age", (3,), "c8"), "holds complex64, not float32"),
        (replace("label_names", (18,), "f4"), "label_names: holds float32"),
        (replace(PICTURES, (3, 24, 24), "f4"), "holds float32, not uint8"),
        (replace(PICTURES, (3, 0, 24), "u1"), "images without pixels"),
        (replace(PICTURES, (3, 1 << 20, 1 << 20), "u1", chunks=(1, 64, 64)), "of 1099511627776"),
        (replace(PICTURES, (1 << 40, 24, 24), "u1", chunks=(1, 24, 24)), "rows in a file of"),
        (replace("views/pa/u", (3, 4), "f8"), "has 4 columns, not 3"),
        (replace("views", data=1), "views: is missing"),
        (replace("views/pa", data=1), "views/pa: is no group"),
        (replace("samples", data=1), "samples: is missing"),
        (link("samples/age", h5py.SoftLink("/samples/age")), "samples/age: is a link"),
        (link("samples/sex", h5py.SoftLink("/samples/split")), "samples/sex: is a link"),
        (link("samples/age", h5py.ExternalLink("other.h5", "/age")), "samples/age: is a link"),
        (link("views", h5py.ExternalLink("other.h5", "/views")), "views: is a link"),
        (from_elsewhere, "samples/age: has its values in other files"),
        (replace("samples/age", (3,), "f4", external=[("o.bin", 0, 12)]), "in other files"),
        (cycle, "views/pa/again: is a group where none can be"),
        (reference, "samples/name: holds"),
        (no_attribute, "the attribute 'licence' is no text"),
    ],
)  # fmt: skip
def test_foreign_contents_are_refused_by_every_reader(
    copy: Path, tmp_path: Path, change: Callable[[h5py.File], None], words: str
) -> None:
    (tmp_path / "o.bin").write_bytes(bytes(12))
    with h5py.File(copy, "a") as file:
        change(file)
    assert any(words in problem for problem in look(copy, complete=True)), look(copy)
    assert not verify(copy)
    for name, read in readers(copy, tmp_path).items():
        if name != "verify":
            with pytest.raises(DRRError, match="drr verify") as info:
                read()
            assert words in str(info.value), name
            assert str(info.value).startswith(f"{copy}: ")
    assert not (tmp_path / "x").exists()


@pytest.mark.parametrize("name", ["samples/patient", "samples/scan", "label_names", "views/pa/u"])
def test_what_a_reader_needs_and_is_missing(copy: Path, tmp_path: Path, name: str) -> None:
    with h5py.File(copy, "a") as file:
        del file[name]
    refusals = []
    for read in readers(copy, tmp_path).values():
        try:
            read()
        except DRRError as error:
            refusals.append(str(error))
    assert refusals
    assert all(text.startswith(f"{copy}: ") for text in refusals)
    assert f"{name}: is missing" in verify(copy).problems


def test_a_file_cut_off_is_refused(copy: Path) -> None:
    content = copy.read_bytes()
    for share in (0.2, 0.5, 0.9, 0.99):
        copy.write_bytes(content[: int(share * len(content))])
        with pytest.raises(DatasetError):
            open_dataset(copy)


def test_a_chunk_index_that_leads_outside(tmp_path: Path) -> None:
    path = write_dataset(
        tmp_path / "set.h5", np.zeros((3, 8, 8)), labels=[[0], [1], [0]], label_names=["a"]
    )
    assert look(path) == ()
    with h5py.File(path) as file:
        chunk = file[PICTURES].id.get_chunk_info(1)
    content = path.read_bytes()
    address = struct.pack("<Q", chunk.byte_offset)
    assert content.count(address) == 1
    path.write_bytes(content.replace(address, struct.pack("<Q", 1 << 50)))
    assert "beyond the end of the file" in look(path)[0]


def test_errors_inside_a_file_name_it() -> None:
    path = Path("a.h5")
    for raised in (KeyError("x"), TypeError("y"), OSError(5, "z"), IndexError(), UnicodeError("u")):
        with pytest.raises(DatasetError, match=r"^a\.h5: is damaged \("), reading(path):
            raise raised
    with pytest.raises(DatasetError, match="damaged"), reading(path):
        parse_json("{")
    with pytest.raises(CohortError, match=r"^a\.h5: p1 is in two splits"), reading(path):
        raise CohortError("p1 is in two splits")
    with pytest.raises(DatasetError, match=r"^a\.h5: no view$"), reading(path):
        raise DatasetError("a.h5: no view")
