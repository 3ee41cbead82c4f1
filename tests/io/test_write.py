"""Every format read back with a reader that is not ours: same pixels, same place."""

from __future__ import annotations

import errno
import io
import json
import os
import sys
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
import SimpleITK
from PIL import Image

from drr.display.mark import draw_mark
from drr.display.window import Window
from drr.errors import WriteError
from drr.files import atomic
from drr.geometry.geometry import Geometry
from drr.io import picture
from drr.io.write import FORMATS, write
from drr.radiograph import Projection
from drr.record import load_record

PA = Geometry(
    source=(10.0, 1650.0, -40.0),
    detector_center=(10.0, -150.0, -40.0),
    u=(0.9, 0.0, 0.0),
    v=(0.0, 0.0, -0.7),
    shape=(60, 90),
    view_position="PA",
)
WINDOW = Window(center=4.0, width=6.0, curve="linear")
SUFFIXES = [suffix for suffixes in FORMATS.values() for suffix in suffixes]


def tilted() -> Geometry:
    """A detector that is parallel to nothing, off its axis, with oblong pixels."""
    rotation, _ = np.linalg.qr(np.random.default_rng(3).normal(size=(3, 3)))
    x, y, z = (tuple(column) for column in rotation.T)
    return Geometry(
        source=tuple(np.array(z) * 900.0 + np.array(x) * 60.0),
        detector_center=(-30.0, 20.0, 50.0),
        u=tuple(np.array(x) * 0.8),
        v=tuple(np.array(y) * 1.3),
        shape=(24, 31),
    )


def projection(geometry: Geometry = PA, *, labels: tuple[int, ...] = (), **changes: Any) -> Any:
    rows, columns = geometry.shape
    generator = np.random.default_rng(0)
    line_integrals = generator.uniform(0.0, 9.0, geometry.shape).astype(np.float32)
    values: dict[str, Any] = {
        "line_integrals": line_integrals,
        "geometry": geometry,
        "record": RECORD,
        "display": WINDOW,
        "thickness": generator.uniform(0, 90, (len(labels), rows, columns)).astype(np.float32)
        if labels
        else None,
        "labels": labels,
        "identifiers": {"PatientName": "Doe^Jane", "PatientID": "MRN-4711"},
    }
    return Projection(**values | changes)


RECORD = {
    "drr": "0.1.0",
    "input": {"sha256": "ab" * 32, "shape": [40, 50, 60], "spacing": [0.7, 0.7, 2.5]},
    "look": "film",
    "view": {"name": "pa"},
    "recipe": None,
    "attenuation": {"name": "water"},
    "detector": None,
    "seed": 0,
    "cleanup": None,
    "extension": None,
    "method": "shear-warp",
    "backend": "cpu",
    "anti_aliasing": True,
    "cpu": "generic",
}


# ---- pixels ----------------------------------------------------------------------------------


@pytest.mark.parametrize("bits", [8, 16])
def test_png_holds_the_window_of_the_line_integrals(tmp_path: Path, bits: Any) -> None:
    made = projection()
    path = write(tmp_path / "a.png", made, display=WINDOW, bits=bits)
    levels = 2**bits - 1
    expected = np.rint(WINDOW.apply(made.line_integrals).astype(np.float64) * levels)
    with Image.open(path) as image:
        assert image.mode == ("L" if bits == 8 else "I;16")
        pillow = np.asarray(image)
    np.testing.assert_array_equal(pillow, expected)
    np.testing.assert_array_equal(
        SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(str(path))), expected
    )
    assert expected.min() == 0
    assert expected.max() == levels


def test_png_carries_its_record_and_the_pixel_size_at_the_detector(tmp_path: Path) -> None:
    path = write(tmp_path / "a.png", projection(), display=WINDOW)
    with Image.open(path) as image:
        image.load()
        assert json.loads(image.text["drr-record"]) == json.loads(read_text(path))
        assert image.info["dpi"] == pytest.approx((25.4 / 0.9, 25.4 / 0.7), rel=1e-3)


def test_tiff_holds_the_line_integrals(tmp_path: Path) -> None:
    made = projection()
    for name in ("a.tif", "b.TIFF"):
        path = write(tmp_path / name, made)
        with Image.open(path) as image:
            np.testing.assert_array_equal(np.asarray(image), made.line_integrals)
            assert json.loads(image.tag_v2[270])["output"]["quantity"] == "line integral"
        array = SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(str(path)))
        np.testing.assert_array_equal(array, made.line_integrals)


def test_numpy_files_hold_the_line_integrals(tmp_path: Path) -> None:
    made = projection(labels=(3, 7))
    array = np.load(write(tmp_path / "a.npy", made))
    assert array.dtype == np.float32
    np.testing.assert_array_equal(array, made.line_integrals)
    with np.load(write(tmp_path / "a.npz", made), allow_pickle=False) as archive:
        np.testing.assert_array_equal(archive["line_integrals"], made.line_integrals)
        np.testing.assert_array_equal(archive["thickness"], made.thickness)
        assert archive["labels"].tolist() == [3, 7]
        assert json.loads(str(archive["record"]))["thickness"]["labels"] == [3, 7]


# ---- where the pixels lie --------------------------------------------------------------------


@pytest.mark.parametrize("geometry", [PA, tilted()], ids=["pa", "tilted"])
@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
def test_nifti_puts_every_pixel_where_it_was(
    tmp_path: Path, geometry: Geometry, suffix: str
) -> None:
    made = projection(geometry)
    path = write(tmp_path / f"a{suffix}", made)
    image = nibabel.load(path)
    rows, columns = geometry.shape
    assert image.shape == (columns, rows, 1)
    assert image.header.get_xyzt_units()[0] == "mm"
    np.testing.assert_array_equal(np.asarray(image.dataobj)[:, :, 0].T, made.line_integrals)
    r, c = np.indices(geometry.shape)
    index = np.stack([c, r, np.zeros_like(r)], axis=-1)
    for affine in (image.get_sform(), image.get_qform()):
        ras = nibabel.affines.apply_affine(affine, index)
        np.testing.assert_allclose(ras * [-1, -1, 1], geometry.pixel_centers(), atol=1e-3)
    check_with_itk(path, made)


@pytest.mark.parametrize("geometry", [PA, tilted()], ids=["pa", "tilted"])
def test_metaimage_puts_every_pixel_where_it_was(tmp_path: Path, geometry: Geometry) -> None:
    made = projection(geometry)
    check_with_itk(write(tmp_path / "a.mha", made), made, atol=1e-9)


def test_skewed_pixels_keep_their_place(tmp_path: Path) -> None:
    skewed = Geometry(
        direction=(0, -1, 0), detector_center=(1, 2, 3), u=(1, 0, 0), v=(0.3, 0, -1), shape=(7, 5)
    )
    made = projection(skewed)
    check_with_itk(write(tmp_path / "a.mha", made), made, atol=1e-9)
    image = nibabel.load(write(tmp_path / "a.nii", made))
    # No quaternion describes it, so only the sform does.
    assert image.get_qform(coded=True)[1] == 0
    last = nibabel.affines.apply_affine(image.affine, [4, 6, 0]) * [-1, -1, 1]
    np.testing.assert_allclose(last, skewed.pixel_centers()[6, 4], atol=1e-5)


def check_with_itk(path: Path, made: Projection, *, atol: float = 1e-3) -> None:
    """ITK works in LPS: its own index-to-point mapping must give the pixel centres."""
    image = SimpleITK.ReadImage(str(path))
    np.testing.assert_array_equal(SimpleITK.GetArrayFromImage(image)[0], made.line_integrals)
    centers = made.geometry.pixel_centers()
    rows, columns = made.geometry.shape
    for row, column in [(0, 0), (0, columns - 1), (rows - 1, 0), (rows // 2, 3)]:
        point = image.TransformIndexToPhysicalPoint((column, row, 0))
        np.testing.assert_allclose(point, centers[row, column], atol=atol)
    third = np.array(image.GetDirection()).reshape(3, 3)[:, 2]
    normal = made.geometry.normal
    np.testing.assert_allclose(third, normal / np.linalg.norm(normal), atol=1e-6)


def test_thickness_of_labels_has_a_file_of_its_own(tmp_path: Path) -> None:
    made = projection(tilted(), labels=(1, 4, 9))
    for suffix in (".png", ".nii.gz", ".mha", ".tif", ".npy"):
        folder = tmp_path / suffix[1:]
        folder.mkdir()
        path = write(folder / f"x.y{suffix}", made, display=WINDOW)
        image = nibabel.load(folder / "x.y_thickness.nii.gz")
        stored = np.asarray(image.dataobj)
        assert stored.shape == (31, 24, 1, 3)
        np.testing.assert_array_equal(stored[:, :, 0].transpose(2, 1, 0), made.thickness)
        assert load_record(f"{path}.json").labels == (1, 4, 9)


# ---- what is beside them ---------------------------------------------------------------------


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_record_lies_beside_every_image(tmp_path: Path, suffix: str) -> None:
    path = write(tmp_path / f"a{suffix}", projection(), display=WINDOW)
    assert sorted(os.listdir(tmp_path)) == [f"a{suffix}", f"a{suffix}.json"]
    record = load_record(f"{path}.json")
    assert record.geometry == PA
    is_picture = suffix in (".png", ".dcm")
    assert record.display == (WINDOW if is_picture else None)
    assert record.output["quantity"] == ("picture" if is_picture else "line integral")
    assert record.projection == RECORD


def test_no_record_beside_when_asked(tmp_path: Path) -> None:
    write(tmp_path / "a.png", projection(), display=WINDOW, sidecar=False)
    assert os.listdir(tmp_path) == ["a.png"]


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_the_same_projection_gives_the_same_bytes(tmp_path: Path, suffix: str) -> None:
    one = write(tmp_path / f"a{suffix}", projection(labels=(2,)), display=WINDOW)
    two = write(tmp_path / f"b{suffix}", projection(labels=(2,)), display=WINDOW)
    assert one.read_bytes() == two.read_bytes()
    assert read_text(one) == read_text(two)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_nothing_identifies_the_patient_or_the_machine(tmp_path: Path, suffix: str) -> None:
    write(tmp_path / f"a{suffix}", projection(labels=(2,)), display=WINDOW)
    for file in tmp_path.iterdir():
        content = file.read_bytes()
        for secret in (b"Doe", b"4711", str(tmp_path).encode(), str(Path.home()).encode() + b"/"):
            assert secret not in content, (file.name, secret)


def test_identifiers_are_kept_on_request(tmp_path: Path) -> None:
    path = write(tmp_path / "a.png", projection(), display=WINDOW, keep_identifiers=True)
    assert load_record(f"{path}.json").identifiers["PatientID"] == "MRN-4711"


def test_default_window_is_recorded(tmp_path: Path) -> None:
    path = write(tmp_path / "a.png", projection())
    assert load_record(f"{path}.json").display is not None


def test_the_mark_is_visible_and_recorded(tmp_path: Path) -> None:
    plain = write(tmp_path / "a.png", projection(), display=WINDOW)
    marked = write(tmp_path / "b.png", projection(), display=WINDOW, mark=True)
    with Image.open(plain) as a, Image.open(marked) as b:
        changed = np.asarray(a) != np.asarray(b)
        corner = np.asarray(b)[-12:-1, 1:58]
    assert changed.any()
    assert not changed[:-12].any()
    assert not changed[:, 58:].any()
    assert set(np.unique(corner)) == {0, 255}
    assert load_record(f"{marked}.json").output["mark"] is True


def test_mark_grows_with_the_picture() -> None:
    small = draw_mark(np.full((100, 100), 0.5, np.float32)) != 0.5
    large = draw_mark(np.full((1000, 1000), 0.5, np.float32)) != 0.5
    assert 0.1 < large.any(axis=0).mean() < 0.4
    assert small.sum() < large.sum()


# ---- refusals --------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_existing_files_are_kept_without_force(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a{suffix}"
    path.write_bytes(b"precious")
    with pytest.raises(WriteError, match=r"a\..*exists already.*--force"):
        write(path, projection(), display=WINDOW)
    assert path.read_bytes() == b"precious"
    assert os.listdir(tmp_path) == [path.name]
    write(path, projection(), display=WINDOW, force=True)
    assert path.read_bytes() != b"precious"


@pytest.mark.parametrize("neighbour", ["a.png.json", "a_thickness.nii.gz"])
def test_existing_neighbours_are_kept_too(tmp_path: Path, neighbour: str) -> None:
    (tmp_path / neighbour).write_bytes(b"precious")
    with pytest.raises(WriteError, match=neighbour):
        write(tmp_path / "a.png", projection(labels=(1,)), display=WINDOW)
    assert os.listdir(tmp_path) == [neighbour]


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("a.jpg", {}, r"a\.jpg: no format has this suffix"),
        ("a", {}, "no format has this suffix"),
        (".png", {}, "no format has this suffix"),
        ("a.png", {"format": "jpeg"}, "unknown format 'jpeg'"),
        ("a.png", {"format": "tiff"}, r"a tiff file ends in \.tif or \.tiff"),
        ("a.png", {"bits": 12}, "bits must be 8 or 16, got 12"),
        ("a.tif", {"mark": True}, "holds line integrals"),
        ("missing/a.png", {}, "folder .*missing does not exist"),
        ("folder.png", {}, "exists and is not a file"),
        ("a.png", {"display": (2.5, 4)}, r"display must map .*Window.* got \(2\.5, 4\)"),
    ],
)
def test_what_cannot_be_written_is_refused(
    tmp_path: Path, name: str, options: dict[str, Any], message: str
) -> None:
    (tmp_path / "folder.png").mkdir()
    with pytest.raises(WriteError, match=message):
        write(tmp_path / name, projection(), **({"display": WINDOW} | options))
    assert os.listdir(tmp_path) == ["folder.png"]


def test_only_a_projection_can_be_written(tmp_path: Path) -> None:
    for other in (projection().line_integrals, [projection()], None):
        with pytest.raises(WriteError, match=r"one Projection .* got (ndarray|list|NoneType)"):
            write(tmp_path / "a.png", other)


def test_a_picture_too_small_for_the_mark_is_refused(tmp_path: Path) -> None:
    with pytest.raises(WriteError, match=r"a\.png.*24 x 31 pixels is too small"):
        write(tmp_path / "a.png", projection(tilted()), display=WINDOW, mark=True)
    assert os.listdir(tmp_path) == []


def test_values_that_are_no_image_are_refused(tmp_path: Path) -> None:
    bad = projection().line_integrals.copy()
    bad[3, 4] = np.nan
    with pytest.raises(WriteError, match="not all finite"):
        write(tmp_path / "a.nii", projection(line_integrals=bad))
    with pytest.raises(WriteError, match="do not fill the detector"):
        write(tmp_path / "a.nii", projection(line_integrals=bad[:5]))
    strip = Geometry(
        source=(0, 9, 0), detector_center=(0, 0, 0), u=(1, 0, 0), v=(0, 0, -1), shape=(1, 32768)
    )
    with pytest.raises(WriteError, match="1 x 32768 pixels are too many"):
        write(tmp_path / "a.nii", projection(strip))
    with pytest.raises(WriteError, match="not plain JSON"):
        write(tmp_path / "a.nii", projection(record=RECORD | {"view": np.float32(1)}))
    assert os.listdir(tmp_path) == []


@pytest.mark.skipif(sys.platform != "linux", reason="a folder where not even root may write")
def test_an_unwritable_folder_is_named() -> None:
    with pytest.raises(WriteError, match=r"/proc/self/a\.png\.json: cannot be written"):
        write("/proc/self/a.png", projection(), display=WINDOW)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full")
def test_a_full_disk_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def on_a_full_disk(path: Path, content: bytes) -> None:
        real_write(path, content[:10])
        with open("/dev/full", "wb") as full:
            full.write(content)

    real_write = atomic._write
    monkeypatch.setattr(atomic, "_write", on_a_full_disk)
    with pytest.raises(WriteError, match=r"a\.png\.json: cannot be written: .*free some space"):
        write(tmp_path / "a.png", projection(), display=WINDOW)
    assert os.listdir(tmp_path) == []


def test_a_failure_between_files_takes_all_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def only_once(source: Path, target: Path) -> None:
        if target.suffix != ".json":
            raise OSError(errno.EIO, "Input/output error")
        real_replace(source, target)

    real_replace = os.replace
    monkeypatch.setattr(os, "replace", only_once)
    with pytest.raises(WriteError, match=r"a\.png: cannot be written: Input/output error"):
        write(tmp_path / "a.png", projection(), display=WINDOW)
    assert os.listdir(tmp_path) == []


def test_an_interrupt_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(path: Path, content: bytes) -> None:
        path.write_bytes(content)
        raise KeyboardInterrupt

    monkeypatch.setattr(atomic, "_write", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write(tmp_path / "a.png", projection(), display=WINDOW)
    assert os.listdir(tmp_path) == []


def test_force_keeps_the_old_file_until_the_new_one_is_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.npy"
    path.write_bytes(b"precious")

    def no_space(path: Path, content: bytes) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(atomic, "_write", no_space)
    with pytest.raises(WriteError, match="free some space"):
        write(path, projection(), force=True)
    assert path.read_bytes() == b"precious"


def test_names_as_long_as_the_file_system_allows(tmp_path: Path) -> None:
    path = write(tmp_path / ("n" * 246 + ".npy"), projection(), sidecar=True)
    assert path.stat().st_size > 0
    with pytest.raises(WriteError, match="choose a shorter name"):
        write(tmp_path / ("n" * 300 + ".npy"), projection())


def read_text(path: Path) -> str:
    return path.with_name(path.name + ".json").read_text("ascii")


@pytest.mark.parametrize("without", [None, "isal"])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("shape", [(1, 1), (1, 9), (7, 1), (64, 50)])
def test_pngs_hold_the_pixels_with_and_without_isal(
    shape: tuple[int, int], dtype: Any, without: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Decoded by Pillow, which checks chunks and checksums."""
    if without:
        monkeypatch.setitem(sys.modules, without, None)
    generator = np.random.default_rng(3)
    pixels = generator.integers(0, np.iinfo(dtype).max, shape, dtype, endpoint=True)
    content = picture.encode_png(pixels, pixel_pitch=(0.5, 0.25), record="{}")
    with Image.open(io.BytesIO(content)) as image:
        image.load()
        np.testing.assert_array_equal(np.asarray(image), pixels)
        assert image.info[picture.RECORD_KEY] == "{}"
        assert image.info["dpi"] == pytest.approx((50.8, 101.6), rel=1e-4)
