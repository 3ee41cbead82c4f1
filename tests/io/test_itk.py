"""MetaImage and NRRD against SimpleITK, and every way to be broken."""

from __future__ import annotations

import re
import zlib
from pathlib import Path

import numpy as np
import pytest
import SimpleITK

import drr
from drr.errors import ReadError

SUFFIXES = [".mha", ".mhd", ".nrrd", ".nhdr"]
AXES = np.array([[0, 0, -1.0], [-1, 0, 0], [0, 1, 0]])
"""Columns: the LPS directions of the file's x, y and z."""


@pytest.fixture
def image() -> SimpleITK.Image:
    """5 x 6 x 7 voxels, sagittal and tilted by 10 degrees."""
    rng = np.random.default_rng(2)
    made = SimpleITK.GetImageFromArray(rng.integers(-1000, 2000, (7, 6, 5)).astype(np.int16))
    angle = np.radians(10)
    turn = np.array(
        [[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]]
    )
    made.SetDirection((turn @ AXES).ravel().tolist())
    made.SetSpacing([0.5, 0.75, 2.5])
    made.SetOrigin([-10.0, 20.0, -300.0])
    return made


def assert_same(volume: drr.Volume, image: SimpleITK.Image) -> None:
    """Same voxels in stored order, and every stored voxel at the same LPS point."""
    np.testing.assert_array_equal(volume.stored_order(), SimpleITK.GetArrayViewFromImage(image))
    nx, ny, nz = image.GetSize()
    for index in [(0, 0, 0), (nx - 1, 0, 0), (0, ny - 1, 1), (1, 2, nz - 1)]:
        point = image.TransformIndexToPhysicalPoint(index)
        place = (volume.world_to_voxel @ [*point, 1])[:3]
        np.testing.assert_allclose(place, np.rint(place), atol=1e-4)
        x, y, z = np.rint(place).astype(int)
        assert volume.hu[z, y, x] == image.GetPixel(index)


def header_edit(path: Path, pattern: str, replacement: str) -> Path:
    """Rewrite one header line; the binary rest stays."""
    raw = path.read_bytes()
    edited, count = re.subn(pattern.encode(), replacement.encode(), raw, count=1, flags=re.M)
    assert count == 1
    path.write_bytes(edited)
    return path


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("suffix", SUFFIXES)
def test_equals_simpleitk(
    tmp_path: Path, image: SimpleITK.Image, suffix: str, compressed: bool
) -> None:
    path = tmp_path / f"scan{suffix}"
    SimpleITK.WriteImage(image, str(path), useCompression=compressed)
    assert_same(drr.read(path), SimpleITK.ReadImage(str(path)))


@pytest.mark.parametrize("suffix", [".mha", ".nrrd"])
@pytest.mark.parametrize(
    "kind",
    ["sitkUInt8", "sitkInt8", "sitkUInt16", "sitkInt32", "sitkUInt32", "sitkInt64", "sitkFloat32"],
)
def test_types(tmp_path: Path, image: SimpleITK.Image, suffix: str, kind: str) -> None:
    path = tmp_path / f"scan{suffix}"
    cast = SimpleITK.Cast(
        SimpleITK.Clamp(image, SimpleITK.sitkInt16, 0, 127), getattr(SimpleITK, kind)
    )
    SimpleITK.WriteImage(cast, str(path))
    assert_same(drr.read(path), SimpleITK.ReadImage(str(path)))


def test_big_endian(tmp_path: Path, image: SimpleITK.Image) -> None:
    array = SimpleITK.GetArrayFromImage(image)
    for suffix, pattern, replacement in (
        (".mha", "ByteOrderMSB = False", "ByteOrderMSB = True"),
        (".nrrd", "endian: little", "endian: big"),
    ):
        path = tmp_path / f"scan{suffix}"
        SimpleITK.WriteImage(image, str(path))
        header_edit(path, pattern, replacement)
        raw = path.read_bytes()
        path.write_bytes(raw[: -array.nbytes] + array.astype(">i2").tobytes())
        assert_same(drr.read(path), SimpleITK.ReadImage(str(path)))


@pytest.mark.parametrize("space", ["right-anterior-superior", "left-anterior-superior"])
def test_nrrd_spaces(tmp_path: Path, image: SimpleITK.Image, space: str) -> None:
    path = tmp_path / "scan.nrrd"
    SimpleITK.WriteImage(image, str(path))
    header_edit(path, "space: left-posterior-superior", f"space: {space}")
    assert_same(drr.read(path), SimpleITK.ReadImage(str(path)))


def test_nrrd_list_axis_of_one(tmp_path: Path) -> None:
    voxels = np.arange(60, dtype="<i2").reshape(5, 4, 3)
    path = tmp_path / "scan.nrrd"
    head = (
        "NRRD0005\n# a comment\ntype: short\ndimension: 4\nspace: LPS\nsizes: {} 3 4 5\n"
        "space directions: none (1,0,0) (0,2,0) (0,0,3)\nspace origin: (1,2,3)\n"
        "kinds: list domain domain domain\nendian: little\nencoding: raw\nkey:=value\n\n"
    )
    path.write_bytes(head.format(1).encode() + voxels.tobytes())
    volume = drr.read(path)
    np.testing.assert_array_equal(volume.hu, voxels)
    np.testing.assert_allclose(
        volume.affine, [[1, 0, 0, 1], [0, 2, 0, 2], [0, 0, 3, 3], [0, 0, 0, 1]]
    )
    path.write_bytes(head.format(2).encode() + voxels.tobytes() * 2)
    with pytest.raises(ReadError, match="4 dimensions"):
        drr.read(path)


def test_slice_files(tmp_path: Path) -> None:
    """One raw file per slice: MetaImage's LIST and pattern, NRRD's LIST and pattern."""
    voxels = np.arange(60, dtype="<i2").reshape(5, 4, 3)
    for k, plane in enumerate(voxels):
        (tmp_path / f"s{k + 1:02}.raw").write_bytes(plane.tobytes())
    names = "\n".join(f"s{k:02}.raw" for k in range(1, 6))
    meta = "NDims = 3\nDimSize = 3 4 5\nElementSpacing = 1 2 3\nElementType = MET_SHORT\n"
    nrrd = (
        "NRRD0004\ntype: int16\ndimension: 3\nsizes: 3 4 5\nspace: LPS\nendian: little\n"
        "space directions: (1,0,0) (0,2,0) (0,0,3)\nencoding: raw\n"
    )
    for name, text in {
        "list.mhd": f"{meta}ElementDataFile = LIST\n{names}\n",
        "pattern.mhd": f"{meta}ElementDataFile = s%02d.raw 1 5 1\n",
        "list.nhdr": f"{nrrd}data file: LIST\n{names}\n",
        "pattern.nhdr": f"{nrrd}data file: s%02d.raw 1 5 1\n",
    }.items():
        (tmp_path / name).write_text(text)
        volume = drr.read(tmp_path / name)
        np.testing.assert_array_equal(volume.hu, voxels)
        np.testing.assert_allclose(volume.spacing, [1, 2, 3])
    (tmp_path / "s03.raw").unlink()
    with pytest.raises(ReadError, match=r"'s03\.raw', which is not there"):
        drr.read(tmp_path / "pattern.mhd")


def test_units_and_missing_matrix(tmp_path: Path, image: SimpleITK.Image) -> None:
    path = tmp_path / "scan.mha"
    SimpleITK.WriteImage(image, str(path))
    header_edit(path, "^TransformMatrix.*\n", "DistanceUnits = cm\n")
    with pytest.raises(ReadError, match="AnatomicalOrientation 'PIL' is read in two ways"):
        drr.read(path)
    header_edit(path, "^AnatomicalOrientation.*\n", "")
    volume = drr.read(path)
    np.testing.assert_allclose(volume.spacing, [5, 7.5, 25])
    assert len(volume.notes) == 2


def test_real_metaimage(test_data: Path) -> None:
    path = test_data / "ct" / "3DCT_lung.mha"
    volume = drr.read(path)
    assert_same(volume, SimpleITK.ReadImage(str(path)))
    assert volume.verdict.kind == "hu"


# ---- bad input -----------------------------------------------------------------------------------


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("suffix", [".mha", ".nrrd"])
@pytest.mark.parametrize("missing", [1, 100, 420, 500])
def test_truncated(
    tmp_path: Path, image: SimpleITK.Image, suffix: str, compressed: bool, missing: int
) -> None:
    path = tmp_path / f"scan{suffix}"
    SimpleITK.WriteImage(image, str(path), useCompression=compressed)
    path.write_bytes(path.read_bytes()[:-missing])
    with pytest.raises(ReadError, match="truncated") as error:
        drr.read(path)
    assert path.name in str(error.value)
    assert "\n" not in str(error.value)


def test_truncated_header(tmp_path: Path) -> None:
    path = tmp_path / "scan.mha"
    path.write_text("ObjectType = Image\nNDims = 3\nDimSize = 3 3")
    with pytest.raises(ReadError, match="truncated"):
        drr.read(path)


@pytest.mark.parametrize(
    ("suffix", "pattern", "replacement", "message"),
    [
        (".mha", "^ElementSpacing.*", "ElementSpacing = 0 1 1", "must be positive"),
        (".mha", "^ElementSpacing.*", "ElementSpacing = -1 1 1", "must be positive"),
        (".mha", "^ElementSpacing.*", "ElementSpacing = 1 1", "3 numbers are needed"),
        (".mha", "^ElementSpacing.*", "ElementSpacing = nan 1 1", "needed"),
        (".mha", "^ElementSpacing.*\n", "", "no ElementSpacing"),
        (".mha", "^TransformMatrix.*", "TransformMatrix = 1 0 0 1 0 0 0 0 1", "singular"),
        (".mha", "^TransformMatrix.*", "TransformMatrix = 1 0 0 x 0 0 0 0 1", "9 numbers"),
        (".mha", "^DimSize.*", "DimSize = 5 0 7", "every axis needs a voxel"),
        (".mha", "^DimSize.*", "DimSize = 5 42 1", "single slice"),
        (".mha", "^DimSize.*", "DimSize = 50000 50000 50000", "beyond the limit"),
        (".mha", "^ElementType.*", "ElementType = MET_STRING", "not one of"),
        (".mha", "^ElementDataFile.*", "ElementDataFile = no.raw", "is not there"),
        (".mha", "^BinaryData = .*", "BinaryData = False", "are text"),
        (".nrrd", "^space directions.*", "space directions: (0,0,0) (0,1,0) (0,0,1)", "singular"),
        (".nrrd", "^space directions.*", "space directions: (1,0,0) (0,1,0)", "for 3 axes"),
        (".nrrd", "^space directions.*", "spacings: 1 1 1", "where its voxels lie"),
        (".nrrd", "^space: .*", "space: scanner-xyz", "not the patient's"),
        (".nrrd", "^type.*", "type: block", "not CT numbers"),
        (".nrrd", "^sizes.*", "sizes: 5 6 -7", "every axis needs a voxel"),
        (".nrrd", "^sizes.*", "sizes: 70000 70000 70000", "beyond the limit"),
        (".nrrd", "^encoding.*", "encoding: hex", "not read here"),
        (".nrrd", "^endian.*\n", "", "byte order"),
    ],
)
def test_bad_headers(
    tmp_path: Path,
    image: SimpleITK.Image,
    suffix: str,
    pattern: str,
    replacement: str,
    message: str,
) -> None:
    path = tmp_path / f"scan{suffix}"
    SimpleITK.WriteImage(image, str(path))
    with pytest.raises(ReadError, match=message) as error:
        drr.read(header_edit(path, pattern, replacement))
    assert "\n" not in str(error.value)


def test_not_finite(tmp_path: Path, image: SimpleITK.Image) -> None:
    values = SimpleITK.Cast(image, SimpleITK.sitkFloat32)
    values[1, 2, 3] = float("nan")
    SimpleITK.WriteImage(values, str(tmp_path / "scan.nrrd"))
    volume = drr.read(tmp_path / "scan.nrrd")
    assert any("1 voxels inside the scan were NaN or infinite" in note for note in volume.notes)
    values[1:4, 1:5, 1:6] = float("nan")
    SimpleITK.WriteImage(values, str(tmp_path / "scan.nrrd"))
    with pytest.raises(ReadError, match=r"scan\.nrrd: \d+ voxels inside the scan"):
        drr.read(tmp_path / "scan.nrrd")


def test_colour(tmp_path: Path, image: SimpleITK.Image) -> None:
    SimpleITK.WriteImage(SimpleITK.Compose(image, image, image), str(tmp_path / "colour.mha"))
    with pytest.raises(ReadError, match="several channels"):
        drr.read(tmp_path / "colour.mha")
    SimpleITK.WriteImage(SimpleITK.Compose(image, image, image), str(tmp_path / "colour.nrrd"))
    with pytest.raises(ReadError, match="4 dimensions"):
        drr.read(tmp_path / "colour.nrrd")


def test_compressed_bomb(tmp_path: Path) -> None:
    head = (
        "NDims = 3\nDimSize = 3 4 5\nElementSpacing = 1 2 3\nElementType = MET_SHORT\n"
        "CompressedData = True\nElementDataFile = LOCAL\n"
    )
    path = tmp_path / "bomb.mha"
    path.write_bytes(head.encode() + zlib.compress(bytes(1 << 26)))
    with pytest.raises(ReadError, match="goes on far beyond"):
        drr.read(path)


def test_header_that_never_ends(tmp_path: Path) -> None:
    path = tmp_path / "scan.mha"
    path.write_bytes(b"NDims = 3\n" + b"Comment = x\n" * 200_000)
    with pytest.raises(ReadError, match="does not end"):
        drr.read(path)
