"""Folders of films: what is found, how it is shown, what is refused."""

from __future__ import annotations

import contextlib
import io
import pickle
import struct
import zipfile
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from drr.datasets.labels import CT_RATE_LABELS, UNKNOWN
from drr.datasets.study import CohortError
from drr.errors import DRRError, ReadError
from drr.evaluate.films.films import Films
from drr.evaluate.films.pixels import read_film
from drr.evaluate.metrics import EvaluationError

NIH = """Image Index,Finding Labels,Patient ID,Patient Age,Patient Gender,View Position,split
00000001_000.png,Effusion|Nodule,1,50,M,PA,train
00000002_000.png,No Finding,2,60,F,AP,test
00000002_001.png,Cardiomegaly,2,61,F,L,test
00000003_000.png,Edema,3,62,F,PA,test
"""


def picture(level: int = 128, size: tuple[int, int] = (20, 16), suffix: str = "PNG") -> bytes:
    buffer = io.BytesIO()
    Image.new("L", size, level).save(buffer, suffix)
    return buffer.getvalue()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three of the four films of the table, in two folders."""
    (tmp_path / "a").mkdir()
    (tmp_path / "labels.csv").write_text(NIH)
    for level, name in ((51, "a/00000001_000.png"), (102, "00000002_000.png"),
                        (153, "a/00000002_001.png")):  # fmt: skip
        (tmp_path / name).write_bytes(picture(level))
    return tmp_path


def test_frontal_films_with_what_the_table_says(folder: Path) -> None:
    films = Films(folder)
    assert len(films) == 2
    assert films.names == ["00000001_000.png", "00000002_000.png"]
    assert (films.patients, films.sexes, films.views) == (["1", "2"], ["M", "F"], ["PA", "AP"])
    sample = films[1]
    assert sample["image"].shape == (1, 16, 20)
    assert sample["image"].dtype == np.float32
    np.testing.assert_allclose(sample["image"], 0.4)
    assert sample["labels"][films.pathologies.index("No Finding")] == 1
    assert any("'00000003_000.png' first" in note for note in films.notes)
    assert len(Films(folder, views="all")) == 3
    assert Films(folder, views="L").names == ["00000002_001.png"]
    assert Films(folder, split="train").names == ["00000001_000.png"]


def test_findings_of_another_set(folder: Path) -> None:
    films = Films(folder, labels=CT_RATE_LABELS)
    assert films.pathologies == list(CT_RATE_LABELS)
    by_name = dict(zip(CT_RATE_LABELS, films.codes.T.tolist(), strict=True))
    assert by_name["Pleural effusion"] == [1, 0]
    assert by_name["Lung nodule"] == [1, 0]
    assert by_name["Bronchiectasis"] == [UNKNOWN, UNKNOWN]
    assert any("Effusion as Pleural effusion" in note for note in films.notes)
    assert any("Bronchiectasis" in note for note in films.notes)
    with pytest.raises(EvaluationError, match="did you mean 'Nodule'"):
        Films(folder, labels=("Nodul",))
    with pytest.raises(EvaluationError, match="different names"):
        Films(folder, labels=("Nodule", "nodule"))
    with pytest.raises(EvaluationError, match="no predicted finding"):
        Films(folder, labels=("Bronchiectasis",))


def test_zip_subset_pickle_and_torchxrayvision(folder: Path, tmp_path: Path) -> None:
    archive = tmp_path / "films.zip"
    with zipfile.ZipFile(archive, "w") as file:
        for path in folder.rglob("*.png"):
            file.write(path, path.name)
    films = Films(archive, folder / "labels.csv", style="torchxrayvision")
    part = pickle.loads(pickle.dumps(films.subset([1])))
    sample = part[0]
    np.testing.assert_allclose(sample["img"], 0.4 * 2048 - 1024, rtol=1e-5)
    assert part.truth.names == ("00000002_000.png",)
    assert part.views == ["AP"]
    with pytest.raises(EvaluationError, match="say which table"):
        Films(archive)


def test_csv_in_torchxrayvisions_terms(folder: Path) -> None:
    pytest.importorskip("pandas")
    table = Films(folder).csv
    assert list(table["view"]) == ["PA", "AP"]
    assert list(table["patientid"]) == ["1", "2"]


def test_paths_of_chexpert_below_other_folders(tmp_path: Path) -> None:
    films = tmp_path / "small" / "valid"
    rows = ["Path,Sex,Age,Frontal/Lateral,AP/PA,Edema"]
    for patient in ("patient1", "patient2"):
        (films / patient / "study1").mkdir(parents=True)
        (films / patient / "study1" / "view1_frontal.jpg").write_bytes(picture(suffix="JPEG"))
        rows.append(f"CheXpert/valid/{patient}/study1/view1_frontal.jpg,Male,50,Frontal,PA,1.0")
    (tmp_path / "valid.csv").write_text("\n".join(rows))
    found = Films(tmp_path)
    assert found.patients == ["patient1", "patient2"]
    assert found[1]["image"].shape == (1, 16, 20)
    # The same films named by their last part only cannot be told apart.
    (tmp_path / "valid.csv").write_text("name,Edema\nview1_frontal,1\n")
    with pytest.raises(EvaluationError, match="may be small/valid/patient1"):
        Films(tmp_path)


def test_squeezed_films_get_their_shape_back(folder: Path) -> None:
    table = (folder / "labels.csv").read_text().splitlines()
    extra = [",OriginalImage[Width,Height],OriginalImagePixelSpacing[x,y]"] + [
        ",2000,1000,0.2,0.2"
    ] * 4
    (folder / "labels.csv").write_text("\n".join(map("".join, zip(table, extra, strict=True))))
    assert Films(folder, original_shape=True)[0]["image"].shape == (1, 10, 20)
    (folder / "labels.csv").write_text(NIH)
    with pytest.raises(CohortError, match="original sizes"):
        Films(folder, original_shape=True)


def test_patients_in_two_splits(folder: Path) -> None:
    (folder / "labels.csv").write_text(NIH.replace("61,F,L,test", "61,F,L,train"))
    with pytest.raises(CohortError, match="2 in test and train"):
        Films(folder)


def test_what_is_refused(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(EvaluationError, match="nobody is in the split 'x'"):
        Films(folder, split="x")
    with pytest.raises(EvaluationError, match="No such file"):
        Films(tmp_path / "none.zip", folder / "labels.csv")
    (tmp_path / "no.zip").write_text("no")
    with pytest.raises(EvaluationError, match="neither a folder nor a ZIP"):
        Films(tmp_path / "no.zip", folder / "labels.csv")
    (tmp_path / "empty").mkdir()
    with pytest.raises(EvaluationError, match="holds no film"):
        Films(tmp_path / "empty", folder / "labels.csv")
    (tmp_path / "empty" / "x.png").write_bytes(picture())
    with pytest.raises(EvaluationError, match="holds none of the 3 films"):
        Films(tmp_path / "empty", folder / "labels.csv")
    (folder / "rows.csv").write_text("Edema\n1\n")
    with pytest.raises(EvaluationError, match="no column that names the films"):
        Films(folder, folder / "rows.csv")
    with pytest.raises(EvaluationError, match="has 2 CSV files"):
        Films(folder)
    (folder / "rows.csv").write_text("name,Edema\n00000002_000.png,1\nx/00000002_000.jpg,1\n")
    with pytest.raises(EvaluationError, match="film of two rows"):
        Films(folder, folder / "rows.csv")
    (folder / "00000002_000.png").write_bytes(b"\x89PNG broken")
    with pytest.raises(ReadError, match=r"00000002_000\.png: cannot be read as a picture"):
        Films(folder, folder / "labels.csv")[1]


@pytest.mark.parametrize(
    ("mode", "level", "grey"),
    [("L", 51, 0.2), ("I;16", 13107, 0.2), ("F", 0.2, 0.2), ("RGB", (51, 51, 51), 0.2),
     ("RGBA", (51, 51, 51, 9), 0.2), ("LA", (51, 9), 0.2), ("1", 1, 1.0)],
)  # fmt: skip
def test_bits_and_colours(mode: str, level: object, grey: float) -> None:
    buffer = io.BytesIO()
    Image.new(mode, (3, 2), level).save(buffer, "TIFF" if mode == "F" else "PNG")
    values = read_film(buffer.getvalue(), name="x")
    assert values.shape == (2, 3)
    np.testing.assert_allclose(values, grey, atol=1e-6)


def test_floating_point_films_lie_between_0_and_1() -> None:
    for level, message in ((3.0, "must lie between"), (float("nan"), "not finite")):
        buffer = io.BytesIO()
        Image.new("F", (3, 2), level).save(buffer, "TIFF")
        with pytest.raises(ReadError, match=message):
            read_film(buffer.getvalue(), name="x")


def test_dicom_films_bone_bright(test_data: Path) -> None:
    folder = test_data / "cxr" / "dicom"
    (path,) = folder.glob("1.2.*.dcm")
    shown = read_film(path.read_bytes(), name=path.name)
    # The same stored values, called MONOCHROME1: the negative.
    variant = (folder / "siim_MONOCHROME1_variant.dcm").read_bytes()
    np.testing.assert_allclose(read_film(variant, name="variant"), 1 - shown, atol=1e-6)
    film = read_film((folder / "RG1_J2KI.dcm").read_bytes(), name="RG1")
    assert film.shape == (1955, 1841)
    for grey in (shown, film):
        rows, columns = grey.shape
        band = grey[int(0.4 * rows) : int(0.5 * rows)]
        right, middle, left = (
            band[:, int(x * columns) : int((x + 0.06) * columns)].mean() for x in (0.3, 0.47, 0.65)
        )
        assert middle > 1.2 * max(right, left)
    with pytest.raises(ReadError, match="RG1"):
        read_film((folder / "RG1_J2KI.dcm").read_bytes()[:4000], name="RG1")


def test_real_films(test_data: Path) -> None:
    nih = test_data / "cxr" / "nih"
    films = Films(nih / "films_320px.zip", nih / "labels.csv", original_shape=True)
    assert len(films) == 1251
    assert len(set(films.patients)) == 841
    image = films[0]["image"]
    # 2500 x 2048 pixels of 0.171 mm.
    assert image.shape == (1, 262, 320)
    assert 0.2 < image.mean() < 0.8


def empty(mode, size=(40, 30), **options):
    buffer = io.BytesIO()
    Image.new(mode, size).save(buffer, options.pop("format", "PNG"), **options)
    return buffer.getvalue()


def bomb(side):
    """A PNG that says it is so large, with data for one row."""
    head = struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)

    def chunk(kind, content):
        check = struct.pack(">I", zlib.crc32(kind + content))
        return struct.pack(">I", len(content)) + kind + content + check

    data = zlib.compress(bytes(side + 1))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "I", "I;16", "F"])
def test_films_of_every_mode(mode):
    kind = "TIFF" if mode in ("CMYK", "F", "I") else "PNG"
    film = read_film(empty(mode, format=kind), name="x")
    assert film.shape == (30, 40)
    assert film.dtype == np.float32
    assert (film == (mode == "CMYK")).all()  # no ink at all is white


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"none",
        empty("L")[:50],
        empty("L", format="JPEG")[:200],
        empty("L", format="GIF"),
        b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n",
        bomb(100_000),
        bomb(2**31 - 1),
        bytes(128) + b"DICM" + bytes(50),
    ],
    ids=["empty", "text", "cut PNG", "cut JPEG", "GIF", "EPS", "bomb", "huge", "DICOM"],
)
def test_other_pictures_are_refused_in_one_line(content):
    with pytest.raises(ReadError, match=r"^film\.png: ") as info:
        read_film(content, name="film.png")
    assert "\n" not in str(info.value)


@pytest.mark.filterwarnings("error")
def test_flipped_bytes_of_films_are_read_or_refused():
    rng = np.random.default_rng(0)
    noise = Image.fromarray(rng.integers(0, 256, (24, 24), np.uint8))
    for kind in ("PNG", "JPEG", "TIFF", "BMP"):
        buffer = io.BytesIO()
        noise.save(buffer, kind)
        sound = buffer.getvalue()
        for place in range(min(300, len(sound))):
            content = bytearray(sound)
            content[place] ^= int(rng.integers(1, 256))
            with contextlib.suppress(ReadError):
                film = read_film(bytes(content), name="film")
                assert film.ndim == 2
                assert 0 <= film.min() <= film.max() <= 1


def test_films_in_damaged_archives(tmp_path):
    path = tmp_path / "films.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.png", empty("L", (200, 200)))
        archive.writestr("b.png", empty("L", (200, 201)))
    table = tmp_path / "table.csv"
    table.write_text("image,Effusion\na.png,1\nb.png,0\n")
    sound = path.read_bytes()
    assert len(Films(path, table)) == 2
    for place in range(len(sound)):
        content = bytearray(sound)
        content[place] ^= 0x55
        path.write_bytes(content)
        try:
            films = Films(path, table)
            for index in range(len(films)):
                films[index]
        except DRRError as error:
            assert "\n" not in str(error)  # noqa: PT017
