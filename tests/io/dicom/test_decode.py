"""Decoders of compressed frames, which may crash without harm."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import h5py
import numpy as np
import pytest
from click.testing import CliRunner
from dicom_files import compress_with_gdcm, ct_slice, save_series, write
from pydicom import dcmread
from pydicom.encaps import generate_frames
from pydicom.uid import RLELossless

from drr.cli import main
from drr.errors import ReadError
from drr.io.dicom import decode
from drr.io.dicom.decode import Decoders, decode_here, lasting_decoders
from drr.io.dicom.frames import Encoded


@pytest.fixture
def decoders() -> Iterator[Decoders]:
    with Decoders(2) as decoders:
        yield decoders


@pytest.fixture
def pixels() -> np.ndarray:
    return np.random.default_rng(4).integers(0, 4096, (32, 24)).astype(np.uint16)


def encoded(folder: Path, pixels: np.ndarray, codec: str) -> Encoded:
    path = write(folder / "ct.dcm", ct_slice(pixels, (0, 0, 0)))
    compress_with_gdcm(path, codec)
    dataset = dcmread(path)
    (data,) = generate_frames(dataset.PixelData, number_of_frames=1)
    syntax = str(dataset.file_meta.TransferSyntaxUID)
    return Encoded(data, syntax, *pixels.shape, 16, dataset.BitsStored, False)


@pytest.mark.parametrize("codec", ["JPEG", "JPEG2000"])
def test_frames_are_decoded_on_threads(
    tmp_path: Path, pixels: np.ndarray, decoders: Decoders, codec: str
) -> None:
    frame = encoded(tmp_path, pixels, codec)
    with ThreadPoolExecutor(6) as pool:
        found = list(pool.map(lambda _: decoders.decode(frame, name="a"), range(12)))
    for decoded in found:
        np.testing.assert_array_equal(decoded, pixels)
    np.testing.assert_array_equal(decode_here(frame, str(tmp_path)), pixels)


@pytest.mark.parametrize(
    ("decoder", "reason"),
    [("crash", r"the library crashed \(SIGABRT\)"), ("spin", "it took longer than 5")],
)
def test_the_end_of_a_decoder_is_a_refusal(
    tmp_path: Path,
    pixels: np.ndarray,
    decoders: Decoders,
    monkeypatch: pytest.MonkeyPatch,
    decoder: str,
    reason: str,
) -> None:
    frame = encoded(tmp_path, pixels, "JPEG")
    monkeypatch.setattr(decode, "BASE_SECONDS", 5.0)
    monkeypatch.setattr(decode, "DECODER", f"bad_decoders:{decoder}")
    with pytest.raises(ReadError, match=rf"a\.dcm: its JPEG Lossless.*{reason}") as error:
        decoders.decode(frame, name="a.dcm")
    assert "\n" not in str(error.value)
    monkeypatch.undo()
    np.testing.assert_array_equal(decoders.decode(frame, name="a.dcm"), pixels)


def test_a_crash_of_the_real_decoder(
    tmp_path: Path, pixels: np.ndarray, decoders: Decoders, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Were a frame of 17 bits not refused before."""
    frame = encoded(tmp_path, pixels, "JPEG")
    data = bytearray(frame.data)
    data[data.find(b"\xff\xc3") + 4] = 17
    monkeypatch.setattr(decode, "check", lambda *_, **__: None)
    damaged = Encoded(bytes(data), frame.syntax, 32, 24, 16, 12, False)
    with pytest.raises(ReadError, match="cannot be decoded"):
        decoders.decode(damaged, name="a.dcm")
    np.testing.assert_array_equal(decoders.decode(frame, name="a.dcm"), pixels)


def test_run_lengths_need_no_process(
    tmp_path: Path, pixels: np.ndarray, decoders: Decoders
) -> None:
    dataset = dcmread(write(tmp_path / "ct.dcm", ct_slice(pixels, (0, 0, 0))))
    dataset.compress(RLELossless)
    (data,) = generate_frames(dataset.PixelData, number_of_frames=1)
    frame = Encoded(data, RLELossless, *pixels.shape, 16, 12, False)
    np.testing.assert_array_equal(decoders.decode(frame, name="a"), pixels)
    assert decoders._all == []
    half = Encoded(data[:-200], RLELossless, *pixels.shape, 16, 12, False)
    with pytest.raises(ReadError, match="RLE Lossless pixels cannot be decoded"):
        decoders.decode(half, name="a")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_lasting_decoders_after_a_fork(tmp_path: Path, pixels: np.ndarray) -> None:
    frame = encoded(tmp_path, pixels, "JPEG")
    np.testing.assert_array_equal(lasting_decoders().decode(frame, name="a"), pixels)
    child = os.fork()
    if child == 0:
        right = False
        try:
            decoders = lasting_decoders()
            right = bool((decoders.decode(frame, name="a") == pixels).all())
            decoders.close()
        finally:
            os._exit(0 if right else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    np.testing.assert_array_equal(lasting_decoders().decode(frame, name="a"), pixels)


def test_other_scans_go_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A scan whose decoder would crash is one line; the scans after it are done."""
    scans = np.random.default_rng(4).integers(0, 2000, (3, 16, 16)).astype(np.uint16)
    for name in ("a", "b"):
        save_series(tmp_path / "scans" / name, scans, SeriesInstanceUID=f"1.2.{ord(name)}")
    for file in (tmp_path / "scans" / "a").iterdir():
        compress_with_gdcm(file, "JPEG")
        data = bytearray(file.read_bytes())
        data[data.rfind(b"\xff\xc3") + 4] = 17
        file.write_bytes(data)
    monkeypatch.chdir(tmp_path)
    small = ["--accept", "size", "--accept", "values", "-q"]
    result = CliRunner().invoke(main, ["project", "scans/a", "scans/b", "-o", "out/", *small])
    assert result.exit_code == 2
    assert "scans/a: " in result.stderr
    assert "17 bits" in result.stderr
    assert [path.name for path in Path("out").glob("*.png")] == ["b_pa.png"]
    options = ["--pixels", "16", "--workers", "1", "--keep-names", *small]
    assert CliRunner().invoke(main, ["build", "scans", "-o", "a.h5", *options]).exit_code == 0
    with h5py.File("a.h5") as file:
        reasons = dict(
            zip(file["failures/path"].asstr(), file["failures/reason"].asstr(), strict=True)
        )
        assert file["samples/name"].asstr()[:].tolist() == ["b"]
    assert list(reasons) == ["a"]
    assert "17 bits" in reasons["a"]
    CliRunner().invoke(main, ["prepare", "scans", "-o", "store", "--keep-names", *small])
    store = json.loads(Path("store/store.json").read_text())
    assert [volume["sample"] for volume in store["volumes"]] == ["b"]
    assert "17 bits" in store["failures"]["a"]
