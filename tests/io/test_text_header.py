"""Headers of MetaImage and NRRD: every way that they are written, and what is no number."""

from __future__ import annotations

import bz2
import gzip
import zlib
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

import drr
from drr.cli import main
from drr.errors import ReadError

VOXELS = np.arange(-30, 30, dtype="<i2").reshape(5, 4, 3)
META = {
    "ObjectType": "Image",
    "NDims": "3",
    "BinaryData": "True",
    "BinaryDataByteOrderMSB": "False",
    "CompressedData": "False",
    "TransformMatrix": "1 0 0 0 1 0 0 0 1",
    "Offset": "-1 -2 -3",
    "ElementSpacing": "1 2 3",
    "DimSize": "3 4 5",
    "ElementType": "MET_SHORT",
    "ElementDataFile": "LOCAL",
}
NRRD = {
    "type": "short",
    "dimension": "3",
    "space": "left-posterior-superior",
    "sizes": "3 4 5",
    "space directions": "(1,0,0) (0,2,0) (0,0,3)",
    "endian": "little",
    "encoding": "raw",
    "space origin": "(-1,-2,-3)",
}
AFFINE = np.array([[1.0, 0, 0, -1], [0, 2, 0, -2], [0, 0, 3, -3], [0, 0, 0, 1]])


def meta(path: Path, data: bytes = VOXELS.tobytes(), **fields: str | None) -> Path:
    """A MetaImage; None takes a field out."""
    given = {**META, **fields}
    given["ElementDataFile"] = given.pop("ElementDataFile")  # last
    text = "".join(f"{key} = {value}\n" for key, value in given.items() if value is not None)
    path.write_bytes(text.encode() + data)
    return path


def nrrd(path: Path, data: bytes = VOXELS.tobytes(), **fields: str | None) -> Path:
    """A NRRD; blanks of field names are underscores here, and None takes one out."""
    given = {**NRRD, **{key.replace("_", " "): value for key, value in fields.items()}}
    text = "".join(f"{key}: {value}\n" for key, value in given.items() if value is not None)
    path.write_bytes(b"NRRD0004\n" + text.encode() + b"\n" + data)
    return path


def assert_read(path: Path, note: str | None = None, **options: bool) -> None:
    volume = drr.read(path, **options)  # type: ignore[arg-type]
    np.testing.assert_array_equal(volume.hu, VOXELS)
    np.testing.assert_allclose(volume.affine, AFFINE)
    if note is None:
        assert volume.notes == ()
    else:
        assert any(note in each for each in volume.notes), volume.notes


def refusal(path: Path, **options: bool) -> str:
    with pytest.raises(ReadError) as error:
        drr.read(path, **options)  # type: ignore[arg-type]
    text = str(error.value)
    assert "\n" not in text
    assert text.startswith(str(path.parent))
    assert len(text) <= 500
    assert "damaged" not in text  # foreseen, not caught
    return text


# ---- numbers -------------------------------------------------------------------------------------

NO_NUMBERS = [
    "1_0",
    "12.9.1",
    "0x10",
    "inf",
    "nan",
    "1e400",
    "9" * 400,
    "१२",
    "1e",
    "--1",
    "True",
    "",
]


@pytest.mark.parametrize("bad", NO_NUMBERS)
def test_what_is_no_number(tmp_path: Path, bad: str) -> None:
    for path in (
        meta(tmp_path / "a.mha", ElementSpacing=f"1 2 {bad}"),
        meta(tmp_path / "b.mha", Offset=f"{bad} 2 3"),
        meta(tmp_path / "c.mha", DimSize=f"3 4 {bad}"),
        meta(tmp_path / "d.mha", ElementNumberOfChannels=bad),
        meta(tmp_path / "e.mha", ElementToIntensityFunctionSlope=bad),
        nrrd(tmp_path / "f.nrrd", sizes=f"3 {bad} 5"),
        nrrd(tmp_path / "g.nrrd", space_origin=f"(1,2,{bad})"),
        nrrd(tmp_path / "h.nrrd", space_directions=f"(1,0,{bad}) (0,2,0) (0,0,3)"),
        nrrd(tmp_path / "i.nrrd", byte_skip=bad),
        nrrd(tmp_path / "j.nrrd", line_skip=bad),
    ):
        refusal(path)


@pytest.mark.parametrize("bad", ["12.9", "1e300", "5e0", "-5", "1_0", "99999999999999999999"])
def test_sizes_are_whole_numbers(tmp_path: Path, bad: str) -> None:
    refusal(meta(tmp_path / "a.mha", DimSize=f"3 4 {bad}"))
    refusal(nrrd(tmp_path / "a.nrrd", sizes=f"3 4 {bad}"))
    assert_read(meta(tmp_path / "b.mha", DimSize="3.0 4 5.00"))


@pytest.mark.parametrize("size", ["1e300", "-2", "99999999999", "99999999999999999999", "0.5"])
@pytest.mark.parametrize("packed", [False, True])
def test_header_sizes(tmp_path: Path, size: str, packed: bool) -> None:
    raw = VOXELS.tobytes()
    (tmp_path / "a.raw").write_bytes(zlib.compress(raw) if packed else raw)
    fields = {"HeaderSize": size, "CompressedData": str(packed), "ElementDataFile": "a.raw"}
    refusal(meta(tmp_path / "a.mhd", b"", **fields))


@pytest.mark.parametrize(
    "data",
    [
        "LIST",
        "LIST 2",
        "s%02d.raw 0 99999999999999999999 1",
        "s%02d.raw 0 999999999999999999 1",
        "s%02d.raw 0 4 0",
        "s%02d.raw 4 0 1",
        "s%s.raw 0 4 1",
        "s%d%d.raw 0 4 1",
        "%99d 0 4 1",
    ],
)
def test_lists_and_ranges_of_files(tmp_path: Path, data: str) -> None:
    refusal(meta(tmp_path / "a.mhd", b"", ElementDataFile=data))
    refusal(nrrd(tmp_path / "a.nhdr", b"", data_file=data))


def test_more_files_than_slices(tmp_path: Path) -> None:
    names = "\n".join(["a.raw"] * 6).encode()
    assert "6 data files for 5 slices" in refusal(
        meta(tmp_path / "a.mhd", names, ElementDataFile="LIST")
    )


@pytest.mark.parametrize(
    ("key", "value"),
    [("CompressedData", "Trve"), ("BinaryDataByteOrderMSB", "2"), ("BinaryData", "")],
)
def test_what_is_neither_true_nor_false(tmp_path: Path, key: str, value: str) -> None:
    assert "neither True nor False" in refusal(meta(tmp_path / "a.mha", **{key: value}))


def test_what_contradicts_itself(tmp_path: Path) -> None:
    assert "two byte orders" in refusal(meta(tmp_path / "a.mha", ElementByteOrderMSB="True"))
    assert "NDims is 4" in refusal(meta(tmp_path / "b.mha", NDims="4"))
    assert "dimension is 4" in refusal(nrrd(tmp_path / "a.nrrd", dimension="4"))
    for path, line in (
        (meta(tmp_path / "c.mha"), b"DimSize = 3 5 4\n"),
        (nrrd(tmp_path / "c.nrrd"), b"sizes: 3 5 4\n"),
    ):
        first, rest = path.read_bytes().split(b"\n", 1)
        path.write_bytes(first + b"\n" + line + rest)
        assert "twice, differently" in refusal(path)


# ---- MetaImage -----------------------------------------------------------------------------------


@pytest.mark.parametrize("first", [key for key in META if key != "ElementDataFile"])
def test_any_key_may_come_first(tmp_path: Path, first: str) -> None:
    rest = {key: value for key, value in META.items() if key != first}
    text = "".join(f"{key} = {value}\n" for key, value in {first: META[first], **rest}.items())
    path = tmp_path / "a.bin"
    path.write_bytes(text.encode() + VOXELS.tobytes())
    assert_read(path)
    path.write_bytes(b"Modality = MET_MOD_CT\nID = 7\n\n" + text.encode() + VOXELS.tobytes())
    assert_read(path)


@pytest.mark.parametrize("place", range(len(META)))
def test_the_voxels_may_be_announced_before_other_keys(tmp_path: Path, place: int) -> None:
    lines = [f"{key} = {value}\n" for key, value in META.items() if value != "LOCAL"]
    lines.insert(place, "ElementDataFile = LOCAL\n")
    path = tmp_path / "a.mha"
    path.write_bytes("".join(lines).encode() + VOXELS.tobytes())
    assert_read(path)


def test_a_detached_file_may_be_named_first(tmp_path: Path) -> None:
    (tmp_path / "a.raw").write_bytes(VOXELS.tobytes())
    text = "".join(f"{key} = {value}\r\n" for key, value in META.items() if value != "LOCAL")
    path = tmp_path / "a.mhd"
    path.write_bytes(b"\xef\xbb\xbfElementDataFile = a.raw\r\n" + text.encode())
    assert_read(path)


def test_a_file_with_more_than_the_voxels(tmp_path: Path) -> None:
    (tmp_path / "a.raw").write_bytes(VOXELS.tobytes() + VOXELS[:1].tobytes())
    path = meta(tmp_path / "a.mhd", b"", ElementDataFile="a.raw")
    assert_read(path, "24 bytes after the voxels")
    # As they are the last ones, the voxels are others now.
    meta(path, b"", ElementDataFile="a.raw", HeaderSize="-1")
    np.testing.assert_array_equal(drr.read(path).hu[:4], VOXELS[1:])


@pytest.mark.parametrize("pack", [zlib.compress, gzip.compress])
def test_bytes_before_compressed_voxels(tmp_path: Path, pack: object) -> None:
    (tmp_path / "a.zraw").write_bytes(b"header" + pack(VOXELS.tobytes()))  # type: ignore[operator]
    fields = {"CompressedData": "True", "HeaderSize": "6", "ElementDataFile": "a.zraw"}
    assert_read(meta(tmp_path / "a.mhd", b"", **fields))


@pytest.mark.parametrize("stated", ["RAI", "LPS", "???"])
def test_orientation_without_a_matrix(tmp_path: Path, stated: str) -> None:
    path = meta(tmp_path / "a.mha", TransformMatrix=None, AnatomicalOrientation=stated)
    assert_read(path, "no TransformMatrix")
    for other in ("RAS", "LAI", "ASL"):
        meta(path, TransformMatrix=None, AnatomicalOrientation=other)
        assert "read in two ways" in refusal(path)


def test_four_dimensions_of_one_time(tmp_path: Path) -> None:
    fields = {
        "NDims": "4",
        "DimSize": "3 4 5 1",
        "ElementSpacing": "1 2 3 1",
        "Offset": "-1 -2 -3 0",
        "TransformMatrix": "1 0 0 0 0 1 0 0 0 0 1 0 0 0 0 1",
    }
    assert_read(meta(tmp_path / "a.mha", **fields))
    fields["TransformMatrix"] = "1 0 0 1 0 1 0 0 0 0 1 0 0 0 0 1"
    assert "fourth axis" in refusal(meta(tmp_path / "a.mha", **fields))


# ---- NRRD ----------------------------------------------------------------------------------------


def test_text_voxels(tmp_path: Path) -> None:
    text = "\n".join(" ".join(map(str, row)) for row in VOXELS.reshape(-1, 3)).encode()
    for encoding in ("ascii", "text", "txt"):
        assert_read(nrrd(tmp_path / "a.nrrd", text + b"\n", encoding=encoding, endian=None))
    (tmp_path / "a.txt").write_bytes(text)
    assert_read(nrrd(tmp_path / "a.nhdr", b"", encoding="ascii", data_file="a.txt"))
    half = VOXELS.ravel() / 2
    real = " ".join(f"{v:.2e}" for v in half).encode()
    np.testing.assert_array_equal(
        drr.read(nrrd(tmp_path / "b.nrrd", real, encoding="ascii", type="float")).hu.ravel(),
        np.rint(half),
    )


@pytest.mark.parametrize(
    "text", ["", "1 2 3", "x " * 60, "1_0 " * 60, "1.5 " * 60, "99999 " * 60, "1 " * 61, "1" * 200]
)
def test_text_that_is_no_voxels(tmp_path: Path, text: str) -> None:
    refusal(nrrd(tmp_path / "a.nrrd", text.encode(), encoding="ascii"))


def test_long_texts_are_read_in_pieces(tmp_path: Path) -> None:
    values = np.random.default_rng(1).integers(-1000, 3000, (70, 80, 90))
    text = " ".join(map(str, values.ravel())).encode()
    path = nrrd(tmp_path / "a.nrrd", text, encoding="ascii", sizes="90 80 70")
    np.testing.assert_array_equal(drr.read(path).hu, values)


def test_skipped_lines_and_bytes(tmp_path: Path) -> None:
    raw = VOXELS.tobytes()
    for name, content, fields in (
        ("a", b"one\ntwo\n" + raw, {"line_skip": "2"}),
        ("b", b"one\nabc" + raw, {"line_skip": "1", "byte_skip": "3"}),
        ("c", b"anything at all" + raw, {"byte_skip": "-1"}),
        ("d", gzip.compress(b"abc" + raw), {"byte_skip": "3", "encoding": "gzip"}),
        ("e", b"one\n" + bz2.compress(raw), {"line_skip": "1", "encoding": "bzip2"}),
        ("f", zlib.compress(raw), {"encoding": "gzip"}),
    ):
        (tmp_path / f"{name}.bin").write_bytes(content)
        assert_read(nrrd(tmp_path / f"{name}.nhdr", b"", data_file=f"{name}.bin", **fields))
        if "-1" not in fields.values():
            assert_read(nrrd(tmp_path / f"{name}.nrrd", content, **fields))
    refusal(nrrd(tmp_path / "g.nrrd", raw, line_skip="2"))
    refusal(nrrd(tmp_path / "h.nrrd", raw, line_skip="99999999999"))
    refusal(nrrd(tmp_path / "i.nrrd", raw, byte_skip="99999999999999999"))


@pytest.mark.parametrize(
    ("fields", "sizes"),
    [
        ({"space_directions": "none (1,0,0) (0,2,0) (0,0,3)"}, "1 3 4 5"),
        ({"space_directions": "(nan,nan,nan) (1,0,0) (0,2,0) (0,0,3)"}, "1 3 4 5"),
        ({"space_directions": "(1,0,0) (0,2,0) (0,0,3) (NaN, NaN, NaN)"}, "3 4 5 1"),
        (
            {
                "space": "left-posterior-superior-time",
                "space_directions": "(1,0,0,0) (0,2,0,0) (0,0,3,0) (0,0,0,1)",
                "space_origin": "(-1,-2,-3,0)",
            },
            "3 4 5 1",
        ),
        (
            {
                "space": "RAST",
                "space_directions": "(-1,0,0,0) (0,-2,0,0) (0,0,3,0) none",
                "space_origin": "(1,2,-3,0)",
            },
            "3 4 5 1",
        ),
    ],
)
def test_axes_that_are_none_of_the_volumes(
    tmp_path: Path, fields: dict[str, str], sizes: str
) -> None:
    assert_read(nrrd(tmp_path / "a.nrrd", dimension="4", sizes=sizes, **fields))
    two = sizes.replace("1", "2")
    path = nrrd(tmp_path / "a.nrrd", VOXELS.tobytes() * 2, dimension="4", sizes=two, **fields)
    assert "4 dimensions" in refusal(path)


def test_an_axis_through_space_and_time(tmp_path: Path) -> None:
    fields = {
        "space": "LPST",
        "space_directions": "(1,0,0,1) (0,2,0,0) (0,0,3,0) (0,0,0,1)",
        "space_origin": "(-1,-2,-3,0)",
    }
    path = nrrd(tmp_path / "a.nrrd", dimension="4", sizes="3 4 5 1", **fields)
    assert "space and time" in refusal(path)


@pytest.mark.parametrize(
    "fields",
    [
        {"space": None, "space_directions": None, "space_origin": None, "spacings": "1 2 3"},
        {"space": "scanner-xyz"},
        {"space": None, "space_dimension": "3"},
    ],
)
def test_what_left_is_must_be_said(tmp_path: Path, fields: dict[str, str | None]) -> None:
    path = nrrd(tmp_path / "a.nrrd", **fields)
    assert "--assume-axial" in refusal(path)
    volume = drr.read(path, assume_axial=True)
    np.testing.assert_array_equal(volume.hu, VOXELS)
    np.testing.assert_allclose(volume.spacing, [1, 2, 3])
    assert any("as asked" in note for note in volume.notes)
    np.testing.assert_array_equal(drr.read(path, affine=AFFINE).hu, VOXELS)


def test_the_command_line_can_assume_axial(tmp_path: Path) -> None:
    path = nrrd(tmp_path / "a.nrrd", space="scanner-xyz")
    shown = CliRunner().invoke(main, ["inspect", str(path), "--no-preview", "--assume-axial"])
    assert shown.exit_code == 0, shown.output
    assert "as asked" in shown.output
    for command in (["inspect", str(path)], ["project", str(path), "-o", str(tmp_path / "x.png")]):
        done = CliRunner().invoke(main, command)
        assert done.exit_code == 2
        assert "--assume-axial" in done.output


def test_assuming_axial_changes_nothing_that_is_said(tmp_path: Path) -> None:
    assert_read(nrrd(tmp_path / "a.nrrd"), assume_axial=True)
    for space in ("3D-left-handed", "somewhere"):
        assert "not the patient's" in refusal(
            nrrd(tmp_path / "a.nrrd", space=space), assume_axial=True
        )
    spaced = {"space_directions": None, "spacings": "1 2 3"}
    assert "no directions in its space 'ras'" in refusal(
        nrrd(tmp_path / "a.nrrd", space="RAS", **spaced), assume_axial=True
    )
    for spacings in ("1 2", "1 2 -3", "1 2 nan", "1 2 3 4"):
        refusal(
            nrrd(tmp_path / "a.nrrd", space_directions=None, spacings=spacings), assume_axial=True
        )


@pytest.mark.parametrize(
    ("units", "factor"),
    [('"mm" "mm" "mm"', 1), ("mm mm mm", 1), ('"cm" "cm" "cm"', 10), ('"millimeters" "" ""', 1)],
)
def test_units(tmp_path: Path, units: str, factor: float) -> None:
    volume = drr.read(nrrd(tmp_path / "a.nrrd", space_units=units))
    np.testing.assert_allclose(volume.spacing, np.array([1, 2, 3]) * factor)
    for bad in ('"mm" "cm" "mm"', '"mm', '"furlong" "furlong" "furlong"'):
        refusal(nrrd(tmp_path / "a.nrrd", space_units=bad))


@pytest.mark.parametrize("text", ["(1,0,0) x (0,2,0) (0,0,3)", "(1,0,0) (0,2,0) ((0,0,3)", "1 2 3"])
def test_vectors_are_in_brackets(tmp_path: Path, text: str) -> None:
    assert "not vectors in brackets" in refusal(nrrd(tmp_path / "a.nrrd", space_directions=text))


def test_pairs_of_keys_and_values_are_no_fields(tmp_path: Path) -> None:
    path = nrrd(tmp_path / "a.nrrd", content="a:=b")
    magic, rest = path.read_bytes().split(b"\n", 1)
    path.write_bytes(magic + b"\n# sizes: 1 2 3\nsizes:=1 2 3\nnote:=a: b\n" + rest)
    assert_read(path)
