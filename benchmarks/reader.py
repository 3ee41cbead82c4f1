"""How long a file takes to become an int16 volume, and how much memory, beside bare inflaters.

    python benchmarks/reader.py [--rounds N] [--threads N] [--size N] [--only WORD] [--json FILE]

One synthetic thorax, 512 x 512 x 300 int16 with noise, in every container, all cached by the
system. Everything is timed in turn, round after round, so that a busy machine slows all alike;
minimum and median count. `drr.read` includes its verdict on the values and the SHA-256 of the
voxels. SimpleITK and nibabel give an array in the file's own order, digest nothing, and are
compared voxel for voxel. Inflaters other than zlib are those that are installed:

    pip install isal deflate zlib-ng rapidgzip indexed-gzip

Memory is the peak of a process of its own beyond what it held before it read, in volumes of int16.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import importlib.metadata
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
import zlib
from collections.abc import Callable
from pathlib import Path

import nibabel
import numpy as np
import SimpleITK
from numpy.typing import NDArray

import drr
from drr.datasets.phantom.thorax import thorax

RESULTS = Path(__file__).resolve().parent / "results"

LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])
PIECE = 1 << 18
PACKAGES = (
    *("numpy", "SimpleITK", "nibabel", "pydicom"),
    *("isal", "deflate", "zlib-ng", "rapidgzip", "indexed-gzip"),
)


def write_files(folder: Path, size: int) -> dict[str, Path]:
    """The same scan in every container; names say what is special.

    No `x.nii` lies beside an `x.nii.gz`: asked for the second, SimpleITK would read the first.
    """
    depth = max(16, size * 300 // 512)
    volume = thorax((depth, size, size), couch=True)
    files: dict[str, Path] = {}

    def nifti(name: str, values: NDArray, affine: NDArray, **header: float) -> None:
        image = nibabel.Nifti1Image(values, LPS_TO_RAS @ affine)
        image.header.set_xyzt_units("mm")
        if values.dtype == np.int16:
            image.header.set_slope_inter(header.get("slope", 1), header.get("intercept", 0))
        files[name] = folder / (name.replace(" ", "_").replace(",", ""))
        image.to_filename(files[name])

    xyz = volume.hu.transpose(2, 1, 0)
    nifti("plain lps.nii", xyz, volume.affine)
    nifti("lps.nii.gz", xyz, volume.affine)
    turned = volume.affine @ _flips((True, True, False), xyz.shape)
    nifti("ras.nii.gz", xyz[::-1, ::-1], turned)
    nifti("plain ras.nii", xyz[::-1, ::-1], turned)
    order = np.eye(4)[[2, 1, 0, 3]]
    nifti("sagittal.nii.gz", xyz.transpose(2, 1, 0), volume.affine @ order)
    nifti("float32.nii.gz", xyz.astype(np.float32), volume.affine)
    nifti("slope 0.5.nii.gz", xyz, volume.affine, slope=0.5, intercept=-12.25)
    image = SimpleITK.GetImageFromArray(volume.hu)
    image.SetSpacing([float(s) for s in volume.spacing])
    image.SetOrigin([float(o) for o in volume.affine[:3, 3]])
    for name, compress in (("raw.mha", False), ("zlib.mha", True), ("gzip.nrrd", True)):
        files[name] = folder / name
        SimpleITK.WriteImage(image, str(files[name]), useCompression=compress)
    files["array.npz"] = folder / "array.npz"
    np.savez_compressed(files["array.npz"], hu=volume.hu, affine=volume.affine)
    files["DICOM folder"] = folder / "dicom"
    write_dicom(files["DICOM folder"], volume)
    return files


def _flips(flips: tuple[bool, ...], shape: tuple[int, ...]) -> NDArray[np.float64]:
    matrix = np.diag([*(-1.0 if flip else 1.0 for flip in flips), 1.0])
    matrix[:3, 3] = [n - 1 if flip else 0 for flip, n in zip(flips, shape, strict=True)]
    return matrix


def write_dicom(folder: Path, volume: drr.Volume) -> None:
    """One uncompressed CT file a slice."""
    from pydicom.dataset import Dataset, FileMetaDataset
    from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

    folder.mkdir()
    study, series = generate_uid(), generate_uid()
    rows, columns = volume.shape[1:]
    for k, plane in enumerate(volume.hu):
        slice_ = Dataset()
        slice_.file_meta = FileMetaDataset()
        slice_.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        slice_.SOPClassUID, slice_.SOPInstanceUID = CTImageStorage, generate_uid()
        slice_.StudyInstanceUID, slice_.SeriesInstanceUID = study, series
        slice_.Modality, slice_.InstanceNumber = "CT", k + 1
        slice_.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
        slice_.ImagePositionPatient = (volume.affine @ [0, 0, k, 1])[:3].round(6).tolist()
        slice_.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
        slice_.PixelSpacing = volume.spacing[1::-1].round(6).tolist()
        slice_.Rows, slice_.Columns = rows, columns
        slice_.SamplesPerPixel, slice_.PhotometricInterpretation = 1, "MONOCHROME2"
        slice_.BitsAllocated, slice_.BitsStored, slice_.HighBit = 16, 16, 15
        slice_.PixelRepresentation = 1
        slice_.RescaleSlope, slice_.RescaleIntercept = 1, -1024
        slice_.PixelData = (plane + 1024).astype("<i2").tobytes()
        slice_.save_as(folder / f"{k:04}.dcm", enforce_file_format=True)


def inflaters(path: Path, size: int) -> dict[str, Callable[[], object]]:
    """Bare inflating of a gzip file whose content has `size` bytes: bytes only, nothing kept."""
    found: dict[str, Callable[[], object]] = {}

    def pieces(start: Callable[[], object]) -> Callable[[], object]:
        def run() -> None:
            decompressor, pending = start(), b""
            with path.open("rb") as file:
                while not decompressor.eof:
                    pending = pending or file.read(PIECE)
                    decompressor.decompress(pending, PIECE)
                    pending = decompressor.unconsumed_tail

        return run

    found["zlib, pieces"] = pieces(lambda: zlib.decompressobj(31))
    found["zlib, whole"] = lambda: zlib.decompress(path.read_bytes(), 31, size)
    with contextlib.suppress(ImportError):
        isal = importlib.import_module("isal.isal_zlib")
        found["ISA-L, pieces"] = pieces(lambda: isal.decompressobj(31))
        found["ISA-L, whole"] = lambda: isal.decompress(path.read_bytes(), 31, size)
    with contextlib.suppress(ImportError):
        deflate = importlib.import_module("deflate")
        found["libdeflate, whole"] = lambda: deflate.gzip_decompress(path.read_bytes(), size)
    with contextlib.suppress(ImportError):
        zlib_ng = importlib.import_module("zlib_ng.zlib_ng")
        found["zlib-ng, pieces"] = pieces(lambda: zlib_ng.decompressobj(31))

    def to_end(opened: Callable[[], object]) -> Callable[[], None]:
        def run() -> None:
            buffer = bytearray(1 << 22)
            with opened() as file:
                while file.readinto(buffer):
                    pass

        return run

    with contextlib.suppress(ImportError):
        rapidgzip = importlib.import_module("rapidgzip")
        for threads in (1, 2, os.cpu_count() or 1):
            found[f"rapidgzip, {threads} threads"] = to_end(
                lambda threads=threads: rapidgzip.open(str(path), parallelization=threads)
            )
    with contextlib.suppress(ImportError):
        indexed = importlib.import_module("indexed_gzip")
        found["indexed_gzip"] = to_end(lambda: indexed.IndexedGzipFile(str(path)))
    return found


def peers(path: Path) -> dict[str, Callable[[], NDArray]]:
    found: dict[str, Callable[[], NDArray]] = {}
    if path.suffix in (".nii", ".gz", ".mha", ".nrrd"):
        found["SimpleITK"] = lambda: SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(str(path)))
    if path.is_dir():

        def series() -> NDArray:
            reader = SimpleITK.ImageSeriesReader()
            reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(path)))
            return SimpleITK.GetArrayFromImage(reader.Execute())

        found["SimpleITK"] = series
    if path.suffix in (".nii", ".gz"):

        def load() -> NDArray:
            image = nibabel.load(path)
            scaled = image.dataobj.slope != 1 or image.get_data_dtype() != np.int16
            values = np.asarray(image.dataobj)
            return (np.rint(values).astype(np.int16) if scaled else np.array(values)).T

        found["nibabel"] = load
    return found


def check(path: Path, threads: int | None) -> None:
    """The peers' voxels, in the file's order, within half an HU."""
    stored = drr.read(path, threads=threads).stored_order()
    for name, load in peers(path).items():
        values = load()
        if path.is_dir() and values.shape == stored.shape and (values[0] != stored[0]).any():
            values = values[::-1]  # ITK sorts as it likes
        difference = np.abs(values.astype(np.float32) - stored).max()
        if difference > 0.5:
            raise SystemExit(f"{path.name}: {name} differs by {difference} HU")


def peak(path: Path, tiny: Path, threads: int | None) -> float:
    """Peak memory of reading, in a fresh process that has read another file before."""
    code = (
        "import re, resource, sys, drr\n"
        "def peak():\n"
        "    try:  # what getrusage says may be the parent's on Linux\n"
        "        status = open('/proc/self/status').read()\n"
        "        return 1024 * int(re.search(r'VmHWM:\\s*(\\d+)', status)[1])\n"
        "    except OSError:\n"
        "        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "threads = int(sys.argv[3]) or None\n"
        "drr.read(sys.argv[2], threads=threads)\n"
        "before = peak()\n"
        "volume = drr.read(sys.argv[1], threads=threads)\n"
        "print((peak() - before) / volume.hu.nbytes)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(path), str(tiny), str(threads or 0)],
        check=True,
        capture_output=True,
        text=True,
    )
    return float(done.stdout)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int)
    parser.add_argument("--size", type=int, default=512, help="voxels along x and y")
    parser.add_argument("--only", default="", help="containers whose name holds this word")
    parser.add_argument("--json", type=Path, default=RESULTS / "reader.json")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="drr-reader-") as folder:
        result = measure(Path(folder), options)
    options.json.parent.mkdir(parents=True, exist_ok=True)
    options.json.write_text(json.dumps(result, indent=2))
    print(f"saved {options.json}")


def measure(folder: Path, options: argparse.Namespace) -> dict[str, object]:
    files = write_files(folder, options.size)
    (folder / "tiny").mkdir()
    tiny = {n: p for n, p in write_files(folder / "tiny", 32).items() if options.only in n}
    gz, size = files["lps.nii.gz"], files["plain lps.nii"].stat().st_size
    files = {name: path for name, path in files.items() if options.only in name}
    tasks: dict[tuple[str, str], Callable[[], object]] = {}
    for name, path in files.items():
        check(path, options.threads)
        tasks[name, "drr.read"] = lambda path=path: drr.read(path, threads=options.threads)
        for peer, load in peers(path).items():
            tasks[name, peer] = load
    for name, run in inflaters(gz, size).items():
        tasks["lps.nii.gz", name] = run
    times: dict[tuple[str, str], list[float]] = {key: [] for key in tasks}
    for turn in range(options.rounds + 1):
        for key, task in tasks.items():
            start = time.perf_counter()
            task()
            if turn:  # the first round imports
                times[key].append(time.perf_counter() - start)
    memory = {name: peak(path, tiny[name], options.threads) for name, path in files.items()}

    machine = f"{platform.processor() or platform.machine()}, {os.cpu_count()} CPUs, "
    machine += f"Python {platform.python_version()}"
    print(f"{machine}; threads {options.threads or 'all'}; seconds: minimum, median")
    names = ("drr.read", "SimpleITK", "nibabel")
    print(f"{'':18}" + "".join(f"{n:>18}" for n in names) + f"{'peak memory':>14}")
    for name in files:
        cells = [times.get((name, n)) for n in names]
        print(
            f"{name:18}"
            + "".join(f"{_pair(c):>18}" if c else f"{'':18}" for c in cells)
            + f"{memory[name]:12.2f} x"
        )
    bare = {n: t for (file, n), t in times.items() if file == "lps.nii.gz" and n not in names}
    print(
        f"\nbare inflating of lps.nii.gz, {gz.stat().st_size / 1e6:.0f} MB to {size / 1e6:.0f} MB"
    )
    for name, each in sorted(bare.items(), key=lambda item: min(item[1])):
        print(f"  {name:24}{_pair(each):>18}")
    if ours := times.get(("lps.nii.gz", "drr.read")):
        fastest = min(bare, key=lambda n: statistics.median(bare[n]))
        ratio = statistics.median(ours) / statistics.median(bare[fastest])
        print(f"drr.read takes {ratio:.2f} times the fastest, {fastest} (medians)")
    return {
        "machine": machine,
        "seconds": {f"{file}: {what}": each for (file, what), each in times.items()},
        "peak_memory_in_volumes": memory,
        "versions": {
            name: importlib.metadata.version(name) for name in PACKAGES if _installed(name)
        },
    }


def _installed(name: str) -> bool:
    with contextlib.suppress(importlib.metadata.PackageNotFoundError):
        return bool(importlib.metadata.version(name))
    return False


def _pair(times: list[float]) -> str:
    return f"{min(times):.3f}, {statistics.median(times):.3f}"


if __name__ == "__main__":
    main()
