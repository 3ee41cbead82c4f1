"""NIfTI against nibabel and SimpleITK: orientation, scaling, units, and every way to be broken."""

from __future__ import annotations

import gzip
import io
import itertools
from pathlib import Path

import nibabel
import numpy as np
import pytest
import SimpleITK

import drr
from drr.errors import ReadError

RAS_TO_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])


def world_value(volume: drr.Volume, point: np.ndarray) -> int:
    """HU of the voxel at an LPS point."""
    x, y, z = np.rint((volume.world_to_voxel @ [*point, 1])[:3]).astype(int)
    return int(volume.hu[z, y, x])


def save(path: Path, data: np.ndarray, affine: np.ndarray | None = None, **fields: object) -> Path:
    """Write a NIfTI-1 file; `data` is `(i, j, k)` and `affine` RAS."""
    affine = np.diag([2.0, 2.0, 3.0, 1.0]) if affine is None else affine
    image = nibabel.Nifti1Image(data, affine)
    image.header.set_xyzt_units("mm")
    for key, value in fields.items():
        image.header[key] = value
    image.to_filename(path)
    return path


def patched(path: Path, **fields: object) -> Path:
    """Overwrite header fields in the file itself, past nibabel's own checks."""
    opener = gzip.open if path.suffix == ".gz" else open
    with opener(path, "rb") as file:
        raw = bytearray(file.read())
    header = nibabel.Nifti1Header.from_fileobj(io.BytesIO(raw[:348]), check=False)
    for key, value in fields.items():
        header[key] = value
    raw[:348] = header.binaryblock
    with opener(path, "wb") as file:
        file.write(bytes(raw))
    return path


@pytest.fixture
def data() -> np.ndarray:
    """`(5, 6, 7)` int16, every voxel different."""
    rng = np.random.default_rng(1)
    return rng.permutation(np.arange(-1000, -1000 + 5 * 6 * 7)).reshape(5, 6, 7).astype(np.int16)


ORIENTATIONS = [
    (axes, signs)
    for axes in itertools.permutations(range(3))
    for signs in itertools.product((1, -1), repeat=3)
]


@pytest.mark.parametrize(("axes", "signs"), ORIENTATIONS)
def test_all_48_orientations_give_one_volume(
    tmp_path: Path, data: np.ndarray, axes: tuple[int, ...], signs: tuple[int, ...]
) -> None:
    # The same scan, stored with its axes permuted and reversed.
    base = np.array([[2.0, 0, 0, -11], [0, 2.5, 0, 7], [0, 0, 3.0, -40], [0, 0, 0, 1]])
    stored = data.transpose(axes)[tuple(slice(None, None, s) for s in signs)]
    affine = np.zeros((4, 4))
    affine[3, 3] = 1
    affine[:3, 3] = base[:3, 3]
    for column, (axis, sign) in enumerate(zip(axes, signs, strict=True)):
        affine[:3, column] = sign * base[:3, axis]
        if sign < 0:
            affine[:3, 3] += base[:3, axis] * (data.shape[axis] - 1)
    path = save(tmp_path / "scan.nii", np.ascontiguousarray(stored), affine)
    volume = drr.read(path)

    assert (np.diag(volume.affine) > 0).all()
    np.testing.assert_allclose(volume.spacing, [2, 2.5, 3])
    # RAS data seen along +x (left), +y (posterior), +z (superior).
    np.testing.assert_array_equal(volume.hu, data[::-1, ::-1, :].transpose(2, 1, 0))
    assert volume.sha256 == drr.read(save(tmp_path / "base.nii", data, base)).sha256

    image = SimpleITK.ReadImage(str(path))
    rng = np.random.default_rng(7)
    for _ in range(5):
        index = [int(rng.integers(n)) for n in image.GetSize()]
        point = np.array(image.TransformIndexToPhysicalPoint(index))
        assert world_value(volume, point) == image.GetPixel(index)
    np.testing.assert_array_equal(volume.stored_order(), SimpleITK.GetArrayFromImage(image))


def test_oblique_affine_is_kept(tmp_path: Path, data: np.ndarray) -> None:
    angle = np.radians(20)
    rotation = np.array(
        [[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]]
    )
    affine = np.eye(4)
    affine[:3, :3] = rotation * [1.5, 1.5, 4]
    path = save(tmp_path / "oblique.nii", data, affine)
    volume = drr.read(path)
    loaded = nibabel.load(path)
    for index in [(0, 0, 0), (4, 0, 3), (2, 5, 6)]:
        point = (RAS_TO_LPS @ loaded.affine @ [*index, 1])[:3]
        assert world_value(volume, point) == data[index]


@pytest.mark.parametrize("endian", "<>")
@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
@pytest.mark.parametrize("dtype", ["i2", "u2", "u1", "i4", "f4", "f8"])
def test_types_and_byte_orders(tmp_path: Path, endian: str, suffix: str, dtype: str) -> None:
    values = np.arange(4 * 5 * 6).reshape(4, 5, 6).astype(dtype)
    header = nibabel.Nifti1Header(endianness=endian)
    header.set_data_dtype(np.dtype(dtype).newbyteorder(endian))
    image = nibabel.Nifti1Image(values, np.diag([-1.0, -1, 1, 1]), header)
    path = tmp_path / f"scan{suffix}"
    image.to_filename(path)
    assert nibabel.load(path).header.endianness == endian
    volume = drr.read(path)
    np.testing.assert_array_equal(volume.hu, values.T)
    assert volume.hu.dtype == np.int16
    assert volume.hu.dtype.isnative


@pytest.mark.parametrize("slope", [1.0, 2.0, 0.5, 0.1, -1.0])
@pytest.mark.parametrize("intercept", [0.0, -1024.0, 0.25])
@pytest.mark.parametrize("dtype", ["i2", "u2", "f4"])
def test_scaling_is_applied_once(
    tmp_path: Path, slope: float, intercept: float, dtype: str
) -> None:
    values = np.arange(3000, 3000 + 4 * 5 * 6).reshape(4, 5, 6).astype(dtype)
    path = save(tmp_path / "scan.nii.gz", values, np.diag([-1.0, -1, 1, 1]))
    patched(path, scl_slope=slope, scl_inter=intercept)
    expected = np.rint(np.asarray(nibabel.load(path).get_fdata())).astype(np.int16)
    np.testing.assert_array_equal(drr.read(path).hu, expected.T)


@pytest.mark.parametrize(("slope", "intercept"), [(0.0, 7.0), (np.nan, np.nan)])
def test_no_scaling(tmp_path: Path, data: np.ndarray, slope: float, intercept: float) -> None:
    path = save(tmp_path / "scan.nii", data, np.diag([-1.0, -1, 1, 1]))
    patched(path, scl_slope=slope, scl_inter=intercept)
    np.testing.assert_array_equal(drr.read(path).hu, data.T)


def test_half_rounds_to_even(tmp_path: Path) -> None:
    values = np.array([0.5, 1.5, 2.5, -0.5, -1.5, -2.5, 10.49, 10.51], np.float32)
    path = save(tmp_path / "scan.nii", values.reshape(2, 2, 2), np.diag([-1.0, -1, 1, 1]))
    assert drr.read(path).stored_order().transpose().ravel().tolist() == [
        0,
        2,
        2,
        0,
        -2,
        -2,
        10,
        11,
    ]


def test_sform_wins_over_qform_with_a_note(tmp_path: Path, data: np.ndarray) -> None:
    image = nibabel.Nifti1Image(data, None)
    image.set_qform(np.diag([3.0, 3, 3, 1]), 1)
    image.set_sform(np.diag([2.0, 2, 2, 1]), 1)
    image.header.set_xyzt_units("mm")
    image.to_filename(tmp_path / "both.nii")
    volume = drr.read(tmp_path / "both.nii")
    np.testing.assert_allclose(volume.spacing, 2)
    assert any("sform and qform disagree" in note for note in volume.notes)

    image.set_sform(None, 0)
    image.to_filename(tmp_path / "qform.nii")
    np.testing.assert_allclose(drr.read(tmp_path / "qform.nii").spacing, 3)


def test_agreeing_forms_need_no_note(tmp_path: Path, data: np.ndarray) -> None:
    image = nibabel.Nifti1Image(data, np.diag([-0.7, 0.7, 2.5, 1]))
    image.set_qform(image.affine, 1)
    image.header.set_xyzt_units("mm")
    image.to_filename(tmp_path / "scan.nii")
    assert drr.read(tmp_path / "scan.nii").notes == ()


def test_nifti2_and_pairs(tmp_path: Path, data: np.ndarray) -> None:
    expected = drr.read(save(tmp_path / "one.nii", data))
    affine = np.diag([2.0, 2.0, 3.0, 1.0])
    nibabel.Nifti2Image(data, affine).to_filename(tmp_path / "two.nii.gz")
    nibabel.Nifti1Pair(data, affine).to_filename(tmp_path / "pair.hdr")
    assert drr.read(tmp_path / "two.nii.gz").sha256 == expected.sha256
    assert drr.read(tmp_path / "pair.hdr").sha256 == expected.sha256
    image = drr.read(tmp_path / "pair.img")
    assert image.sha256 == expected.sha256
    assert any("header beside" in note for note in image.notes)
    (tmp_path / "pair.hdr").rename(tmp_path / "other.hdr")
    with pytest.raises(ReadError, match="bare voxels"):
        drr.read(tmp_path / "pair.img")
    (tmp_path / "other.hdr").rename(tmp_path / "pair.hdr")
    (tmp_path / "pair.img").unlink()
    with pytest.raises(ReadError, match=r"\.img is not beside it"):
        drr.read(tmp_path / "pair.hdr")


def test_exactly_the_path_asked_for(tmp_path: Path, data: np.ndarray) -> None:
    save(tmp_path / "scan.nii", data)
    with pytest.raises(ReadError, match=r"scan\.nii\.gz: no such file"):
        drr.read(tmp_path / "scan.nii.gz")
    save(tmp_path / "scan.nii.gz", (data + 1).astype(np.int16))
    assert drr.read(tmp_path / "scan.nii").hu.min() == -1000
    assert drr.read(tmp_path / "scan.nii.gz").hu.min() == -999
    # A plain file under a compressed one's name is what it is.
    (tmp_path / "scan.nii").rename(tmp_path / "plain.nii.gz")
    assert drr.read(tmp_path / "plain.nii.gz").hu.min() == -1000


@pytest.mark.parametrize(("code", "factor"), [(1, 0.001), (2, 1.0), (3, 1000.0)])
def test_units_become_mm(tmp_path: Path, data: np.ndarray, code: int, factor: float) -> None:
    affine = np.diag([2 * factor, 2 * factor, 3 * factor, 1])
    affine[:3, 3] = np.array([10, 20, 30]) * factor
    path = save(tmp_path / "scan.nii", data, affine, xyzt_units=code)
    volume = drr.read(path)
    np.testing.assert_allclose(volume.spacing, [2, 2, 3], rtol=1e-6)
    np.testing.assert_allclose(volume.affine[2, 3], 30, rtol=1e-6)
    assert bool(volume.notes) == (code != 2)


def test_unknown_unit_is_mm_with_a_note(tmp_path: Path, data: np.ndarray) -> None:
    volume = drr.read(save(tmp_path / "scan.nii", data, xyzt_units=0))
    np.testing.assert_allclose(volume.spacing, [2, 2, 3])
    assert any("mm were assumed" in note for note in volume.notes)


def test_metres_that_are_mm_are_refused(tmp_path: Path, data: np.ndarray) -> None:
    with pytest.raises(ReadError, match="2000 x 2000 x 3000 mm"):
        drr.read(save(tmp_path / "scan.nii", data, xyzt_units=1))


@pytest.mark.parametrize("factor", [0.001, 1e-6, 1000])
@pytest.mark.parametrize("code", [0, 2])
def test_lengths_that_are_not_mm_are_refused(
    tmp_path: Path, data: np.ndarray, factor: float, code: int
) -> None:
    affine = np.diag([2 * factor, 2 * factor, 3 * factor, 1])
    with pytest.raises(ReadError, match=r"scan\.nii: voxels of .* mm are not a CT's"):
        drr.read(save(tmp_path / "scan.nii", data, affine, xyzt_units=code))


def test_four_dimensions(tmp_path: Path, data: np.ndarray) -> None:
    one = save(tmp_path / "one.nii", data[..., None])
    assert drr.read(one).sha256 == drr.read(save(tmp_path / "flat.nii", data)).sha256
    two = save(tmp_path / "two.nii", np.stack([data, data], -1))
    with pytest.raises(ReadError, match=r"two\.nii: the image has 4 dimensions"):
        drr.read(two)


def test_lidc_equals_simpleitk(test_data: Path) -> None:
    path = test_data / "ct" / "lidc_idri_0001" / "cxr.nii.gz"
    volume = drr.read(path)
    image = SimpleITK.DICOMOrient(SimpleITK.ReadImage(str(path)), "LPS")
    np.testing.assert_array_equal(volume.hu, SimpleITK.GetArrayViewFromImage(image))
    np.testing.assert_allclose(volume.affine[:3, 3], image.GetOrigin(), atol=1e-4)
    np.testing.assert_allclose(volume.spacing, image.GetSpacing(), rtol=1e-6)
    assert volume.orientation == "LAS"
    assert volume.verdict.kind == "hu"
    assert [value for value, _ in volume.verdict.padding] == [-2048]
    assert 0.2 < volume.verdict.padding[0][1] < 0.23


# ---- bad input -----------------------------------------------------------------------------------


@pytest.fixture
def scan(tmp_path: Path, data: np.ndarray) -> Path:
    rng = np.random.default_rng(3)
    noise = rng.integers(-1000, 1000, (40, 40, 40)).astype(np.int16)
    return save(tmp_path / "scan.nii.gz", noise)


def one_line(error: pytest.ExceptionInfo[ReadError], path: Path) -> None:
    text = str(error.value)
    assert "\n" not in text
    assert path.name in text


@pytest.mark.parametrize("keep", [30, 200, 5000, -9, -1])
def test_truncated_gzip(scan: Path, keep: int) -> None:
    scan.write_bytes(scan.read_bytes()[:keep])
    with pytest.raises(ReadError, match="truncated") as error:
        drr.read(scan)
    one_line(error, scan)


@pytest.mark.parametrize("place", [0.3, 0.6, 0.9, 1.0])
def test_corrupt_gzip(scan: Path, place: float) -> None:
    raw = bytearray(scan.read_bytes())
    at = int(place * (len(raw) - 8)) if place < 1 else len(raw) - 6
    for k in range(at, min(at + 4, len(raw))):
        raw[k] ^= 0x5A
    scan.write_bytes(bytes(raw))
    with pytest.raises(ReadError, match=r"corrupt|truncated") as error:
        drr.read(scan)
    one_line(error, scan)


def test_concatenated_gzip_members_and_trailing_zeros(tmp_path: Path, data: np.ndarray) -> None:
    raw = save(tmp_path / "scan.nii", data).read_bytes()
    path = tmp_path / "members.nii.gz"
    path.write_bytes(gzip.compress(raw[:400]) + gzip.compress(raw[400:]) + bytes(100))
    assert drr.read(path).sha256 == drr.read(tmp_path / "scan.nii").sha256


def test_gzip_bomb_by_header(tmp_path: Path, data: np.ndarray) -> None:
    path = save(tmp_path / "scan.nii.gz", data)
    patched(path, dim=[3, 30000, 30000, 30000, 1, 1, 1, 1])
    with pytest.raises(ReadError, match=r"promises .* GiB") as error:
        drr.read(path)
    one_line(error, path)


def test_gzip_bomb_behind_the_voxels(tmp_path: Path, data: np.ndarray) -> None:
    raw = save(tmp_path / "scan.nii", data).read_bytes()
    path = tmp_path / "bomb.nii.gz"
    path.write_bytes(gzip.compress(raw) + gzip.compress(bytes(1 << 26)))
    with pytest.raises(ReadError, match="goes on far beyond"):
        drr.read(path)


def test_limit_can_be_moved(scan: Path) -> None:
    with pytest.raises(ReadError, match="limit of 64 KiB"):
        drr.read(scan, max_bytes=1 << 16)
    assert drr.read(scan, max_bytes=1 << 20).shape == (40, 40, 40)


@pytest.mark.parametrize("keep", [4, 100, 350, 400])
def test_truncated_plain_file(tmp_path: Path, data: np.ndarray, keep: int) -> None:
    path = save(tmp_path / "scan.nii", data)
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(ReadError, match="truncated") as error:
        drr.read(path)
    one_line(error, path)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_not_finite(tmp_path: Path, bad: float) -> None:
    values = np.zeros((4, 4, 4), np.float32)
    values[1, 2, 3] = bad
    volume = drr.read(save(tmp_path / "scan.nii", values))
    assert any("NaN or infinite" in note for note in volume.notes)
    assert not volume.hu.any()  # the mean of its neighbours
    with pytest.raises(ReadError, match="all voxels are NaN or infinite") as error:
        drr.read(save(tmp_path / "scan.nii", np.full_like(values, bad)))
    one_line(error, tmp_path / "scan.nii")


@pytest.mark.parametrize("value", [40000.0, -1e9, 1e300])
def test_beyond_int16(tmp_path: Path, value: float) -> None:
    values = np.zeros((4, 4, 4))
    values[1, 2, 3] = value
    with pytest.raises(ReadError, match="do not fit int16"):
        drr.read(save(tmp_path / "scan.nii", values))


def test_two_dimensions(tmp_path: Path) -> None:
    flat = np.zeros((16, 16), np.int16)
    for k, values in enumerate((flat, flat[..., None])):
        with pytest.raises(ReadError, match="single slice"):
            drr.read(save(tmp_path / f"flat{k}.nii", values))


def test_absent_affine(tmp_path: Path, data: np.ndarray) -> None:
    path = save(tmp_path / "scan.nii", data)
    patched(path, sform_code=0, qform_code=0)
    with pytest.raises(ReadError, match="neither sform nor qform"):
        drr.read(path)
    volume = drr.read(path, affine=np.diag([1.0, 1, 2, 1]))
    np.testing.assert_array_equal(volume.hu, data.T)
    assert any("given by the caller" in note for note in volume.notes)
    with pytest.raises(ReadError, match="singular"):
        drr.read(path, affine=np.zeros((4, 4)))


@pytest.mark.parametrize("row", [[0, 0, 0, 0], [0, 2, 0, 0], [np.nan, 0, 0, 0]])
def test_singular_affine(tmp_path: Path, data: np.ndarray, row: list[float]) -> None:
    path = patched(save(tmp_path / "scan.nii", data), srow_x=row, qform_code=0)
    with pytest.raises(ReadError, match=r"singular|not a finite") as error:
        drr.read(path)
    one_line(error, path)


@pytest.mark.parametrize("step", [0.0, np.inf, np.nan])
def test_no_spacing(tmp_path: Path, data: np.ndarray, step: float) -> None:
    path = save(tmp_path / "scan.nii", data)
    patched(path, sform_code=0, qform_code=1, pixdim=[1, 2, step, 3, 0, 0, 0, 0])
    with pytest.raises(ReadError, match="must be positive") as error:
        drr.read(path)
    one_line(error, path)


def test_colour_and_complex(tmp_path: Path, data: np.ndarray) -> None:
    with pytest.raises(ReadError, match="not CT numbers"):
        drr.read(save(tmp_path / "complex.nii", data.astype(np.complex64)))
    colour = np.zeros((4, 4, 4), [("R", "u1"), ("G", "u1"), ("B", "u1")])
    with pytest.raises(ReadError, match="not CT numbers"):
        drr.read(save(tmp_path / "colour.nii", colour))
    path = patched(save(tmp_path / "odd.nii", data), datatype=999)
    with pytest.raises(ReadError, match="999"):
        drr.read(path)


def test_analyze_is_refused(tmp_path: Path, data: np.ndarray) -> None:
    nibabel.AnalyzeImage(data, np.eye(4)).to_filename(tmp_path / "old.hdr")
    with pytest.raises(ReadError, match=r"ANALYZE 7\.5"):
        drr.read(tmp_path / "old.hdr")


def complaint_about(path: Path) -> str | None:
    """What `drr.read` says, or None if it can read the file."""
    try:
        drr.read(path)
    except ReadError as error:
        return str(error)
    return None


def test_corrupt_header_never_escapes(tmp_path: Path, data: np.ndarray) -> None:
    """Random damage to the header gives a volume or one clear line, nothing else."""
    good = save(tmp_path / "scan.nii", data).read_bytes()
    rng = np.random.default_rng(5)
    path = tmp_path / "fuzzed.nii"
    for _ in range(150):
        raw = bytearray(good)
        for at in rng.integers(0, 352, 6):
            raw[at] = rng.integers(256)
        path.write_bytes(bytes(raw))
        complaint = complaint_about(path)
        assert complaint is None or (path.name in complaint and "\n" not in complaint)


# ---- as nibabel takes it -------------------------------------------------------------------------


@pytest.mark.parametrize("step", [-2.0, -0.7])
def test_a_spacing_below_zero_beside_a_qform(tmp_path: Path, data: np.ndarray, step: float) -> None:
    path = save(tmp_path / "scan.nii", data, np.diag([2.0, abs(step), 3.0, 1.0]))
    patched(path, sform_code=0, qform_code=1, pixdim=[1, 2, step, 3, 0, 0, 0, 0])
    expected = RAS_TO_LPS @ nibabel.load(path).affine
    volume = drr.read(path)
    np.testing.assert_allclose(volume.spacing, [2, abs(step), 3], rtol=1e-6)
    np.testing.assert_allclose(
        volume.affine[:3, 3], np.minimum(expected[:3, 3], expected[:3] @ [4, 5, 6, 1]), rtol=1e-6
    )
    assert any("a length has no sign" in note for note in volume.notes)


@pytest.mark.parametrize("turn", [-1.0, 0.0, 1.0, 3.0, -0.5, -7.0])
def test_the_third_axis_of_a_qform(tmp_path: Path, data: np.ndarray, turn: float) -> None:
    """Readers agree on some signs and not on others: those are refused."""
    path = save(tmp_path / "scan.nii", data)
    patched(path, sform_code=0, qform_code=1, pixdim=[turn, 2, 2, 3, 0, 0, 0, 0])
    if turn in (-0.5, -7.0):
        with pytest.raises(ReadError, match=r"pixdim\[0\] is -.*turns the slices around"):
            drr.read(path)
        return
    flip = 1 if turn < 0 else -1  # +1: the file's slices run downwards
    np.testing.assert_array_equal(
        drr.read(path).hu, data[::-1, ::-1, :: -1 if flip > 0 else 1].transpose(2, 1, 0)[:, :, :]
    )
    path = save(tmp_path / "both.nii", data)
    patched(path, sform_code=1, qform_code=1, pixdim=[-0.5, 2, 2, 3, 0, 0, 0, 0])
    np.testing.assert_allclose(drr.read(path).spacing, [2, 2, 3])


def test_a_slope_without_an_intercept(tmp_path: Path, data: np.ndarray) -> None:
    path = save(tmp_path / "scan.nii", data, np.diag([-1.0, -1, 1, 1]))
    patched(path, scl_slope=1.0, scl_inter=np.nan)
    volume = drr.read(path)
    np.testing.assert_array_equal(volume.hu, data.T)
    assert any("intercept is not a number" in note for note in volume.notes)
    patched(path, scl_slope=1.0, scl_inter=np.inf)
    with pytest.raises(ReadError, match="repair the header"):
        drr.read(path)


@pytest.mark.parametrize("count", [4, 5, 7])
def test_axes_of_no_length_and_of_one(tmp_path: Path, data: np.ndarray, count: int) -> None:
    path = save(tmp_path / "scan.nii", data)
    for others in ([0, 0, 0, 0], [1, 0, 1, 0], [1, 1, 1, 1]):
        patched(path, dim=[count, *data.shape, *others])
        assert drr.read(path).shape == data.shape[::-1]
    patched(path, dim=[count, *data.shape[:2], 0, 1, 1, 1, 1])
    with pytest.raises(ReadError, match="every axis needs a voxel"):
        drr.read(path)
    patched(path, dim=[count, *data.shape, -1, 1, 1, 1])
    with pytest.raises(ReadError, match="every axis needs a voxel"):
        drr.read(path)


@pytest.mark.parametrize("place", [0, 1, 2])
def test_an_axis_of_one_between_others_leaves_the_affine_open(
    tmp_path: Path, data: np.ndarray, place: int
) -> None:
    path = save(tmp_path / "scan.nii", np.expand_dims(data, place))
    with pytest.raises(ReadError, match="its affine belongs to the first three axes"):
        drr.read(path)
    np.testing.assert_array_equal(drr.read(path, affine=np.eye(4)).hu, data.T)


@pytest.mark.parametrize("code", [4, 5, 6, 7, 5 | 8])
def test_a_unit_that_does_not_exist(tmp_path: Path, data: np.ndarray, code: int) -> None:
    volume = drr.read(save(tmp_path / "scan.nii", data, xyzt_units=code))
    np.testing.assert_allclose(volume.spacing, [2, 2, 3])
    assert any("does not exist; mm were assumed" in note for note in volume.notes)


def test_where_voxels_begin(tmp_path: Path, data: np.ndarray) -> None:
    path = save(tmp_path / "scan.nii", data)
    expected = drr.read(path).sha256
    assert drr.read(patched(path, vox_offset=0)).sha256 == expected
    for offset in (348, 351, 352.5, -16, np.nan, 1e30):
        with pytest.raises(ReadError, match=r"voxels at byte .*corrupt"):
            drr.read(patched(path, vox_offset=offset))
    raw = bytearray(patched(path, vox_offset=0).read_bytes())
    raw[348] = 1  # extensions follow, of whatever length
    path.write_bytes(bytes(raw))
    with pytest.raises(ReadError, match="not where its voxels begin"):
        drr.read(path)


@pytest.mark.parametrize("row", [[0, 0, 0, 0], [np.nan] * 4])
def test_an_sform_that_is_none_yields_to_the_qform(
    tmp_path: Path, data: np.ndarray, row: list[float]
) -> None:
    image = nibabel.Nifti1Image(data, None)
    image.set_qform(np.diag([2.0, 2, 3, 1]), 1)
    image.header.set_xyzt_units("mm")
    image.to_filename(tmp_path / "scan.nii")
    expected = drr.read(tmp_path / "scan.nii")
    path = patched(tmp_path / "scan.nii", sform_code=1, srow_x=row, srow_y=row, srow_z=row)
    volume = drr.read(path)
    assert volume.sha256 == expected.sha256
    np.testing.assert_allclose(volume.affine, expected.affine)
    assert any("the qform was used" in note for note in volume.notes)


@pytest.mark.parametrize("dtype", [np.int64, np.uint64, np.float64])
def test_wide_voxels(tmp_path: Path, data: np.ndarray, dtype: type) -> None:
    values = np.abs(data).astype(dtype)
    image = nibabel.Nifti1Image(values, np.diag([-1.0, -1, 1, 1]), dtype=dtype)
    image.header.set_xyzt_units("mm")
    image.to_filename(tmp_path / "scan.nii")
    np.testing.assert_array_equal(drr.read(tmp_path / "scan.nii").hu, values.T)


def test_a_magic_with_a_blank_and_a_label_left_over(tmp_path: Path, data: np.ndarray) -> None:
    path = save(tmp_path / "scan.nii", data, intent_code=1002)
    raw = bytearray(path.read_bytes())
    raw[344:348] = b"n+1 "
    path.write_bytes(bytes(raw))
    assert drr.read(path).shape == data.shape[::-1]


def test_voxels_far_beyond_the_frame_are_refused(tmp_path: Path) -> None:
    affine = np.diag([1.0, 1.0, 2.0, 1.0])
    affine[0, 3] = 1e30
    nibabel.Nifti1Image(np.zeros((4, 4, 4), np.int16), affine).to_filename(tmp_path / "a.nii")
    with pytest.raises(ReadError, match=r"a\.nii: its first voxel lies 1e\+30 mm from the origin"):
        drr.read(tmp_path / "a.nii")
