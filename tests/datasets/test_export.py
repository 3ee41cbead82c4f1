"""Exports: every layout read back, names that lead elsewhere, nothing half-written."""

from __future__ import annotations

import csv
import shutil
from pathlib import Path

import h5py
import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image
from tiny_cohort import write_cohort

from drr.cli import main
from drr.cli.export import LAYOUTS as COMMAND_LAYOUTS
from drr.datasets.build.build import build
from drr.datasets.build.plan import Configuration, Plan
from drr.datasets.export import LAYOUTS, MARKER, export
from drr.datasets.labels import CHEXPERT_LABELS, CT_RATE_LABELS
from drr.datasets.loaders.published import PublishedDRRs, find_drr_rate
from drr.datasets.loaders.stored import StoredDRRs
from drr.datasets.schema import DatasetError
from drr.datasets.sources.ctrate import find_ct_rate
from drr.errors import DRRError, WriteError
from drr.geometry.views import parse_view


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    source = write_cohort(tmp_path_factory.mktemp("cohort"), 4)
    views = tuple(parse_view(view, shape=(40, 32)) for view in ("pa", "ll"))
    plan = Plan(cohort=find_ct_rate(source), configuration=Configuration(views=views))
    path = build(plan, tmp_path_factory.mktemp("built") / "out.h5", workers=1).path
    with h5py.File(path, "a") as file:
        file["samples/labels"][0, :3] = (-128, -1, 1)
        file["samples/sex"][0], file["samples/age"][0] = "F", 61
        file["reports/findings"][0] = 'Two lines,\nand "quotes".'
    return path


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def files(folder: Path) -> list[str]:
    return sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())


def test_drr_rate_layout_is_the_published_one_and_reads_back(built: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert export(built, out, layout="drr-rate", views=["pa=AP", "ll"]) == 8
    assert (out / "train/AP/train_1/train_1_a/train_1_a_1.png").is_file()
    assert (out / "valid/LATERAL/valid_2/valid_2_b/valid_2_b_1.png").is_file()
    tables = [name for name in files(out) if name.endswith(".csv")]
    assert tables == [
        "metadata/train_metadata.csv",
        "metadata/validation_metadata.csv",
        "multi_abnormality_labels/train_predicted_labels.csv",
        "multi_abnormality_labels/valid_predicted_labels.csv",
        "radiology_text_reports/train_reports.csv",
        "radiology_text_reports/validation_reports.csv",
    ]
    first = rows(out / tables[2])[0]
    assert list(first) == ["ImageName", *CT_RATE_LABELS]
    assert list(first.values())[:4] == ["train_1_a_1.png", "", "-1", "1"]
    assert "CC BY-NC-SA" in (out / "README.md").read_text()

    with h5py.File(built) as file:
        pictures = file["views/pa/picture"][...]
        codes = file["samples/labels"][...]
    back = PublishedDRRs(out)
    assert back.problems == []
    assert back.names[0] == "train_1_a_1"
    assert (back.sexes[0], back.ages[0]) == ("F", 61)
    assert back.reports[0].findings == 'Two lines,\nand "quotes".'
    assert np.array_equal(back.codes, codes)
    for index in range(4):
        image = back[index]["image"]
        assert np.array_equal(np.rint(image[0] * 255), pictures[index])
    assert len(PublishedDRRs(out, view="LATERAL", split="valid")) == 1
    assert len(back.subset([1, 2]).paths) == 2


def test_chexpert_leaves_unknown_blank(built: Path, tmp_path: Path) -> None:
    assert export(built, tmp_path / "out", layout="chexpert") == 8
    table = rows(tmp_path / "out/train.csv")
    assert list(table[0])[:5] == ["Path", "Sex", "Age", "Frontal/Lateral", "AP/PA"]
    assert list(table[0])[5:] == list(CHEXPERT_LABELS)
    by_path = {row["Path"]: row for row in table}
    row = by_path["train/train_1/train_1_a/train_1_a_1_pa.png"]
    assert (row["Sex"], row["Age"], row["Frontal/Lateral"], row["AP/PA"]) == (
        "Female", "61", "Frontal", "PA",
    )  # fmt: skip
    assert (row["Support Devices"], row["Cardiomegaly"], row["No Finding"]) == ("", "1", "")
    lateral = by_path["train/train_1/train_1_a/train_1_a_1_ll.png"]
    assert (lateral["Frontal/Lateral"], lateral["AP/PA"]) == ("Lateral", "")
    assert all((tmp_path / "out" / path).is_file() for path in by_path)


def test_torchxrayvision_table(built: Path, tmp_path: Path) -> None:
    assert export(built, tmp_path / "out", layout="torchxrayvision", views=["pa"]) == 4
    row = rows(tmp_path / "out/labels.csv")[0]
    assert (row["patientid"], row["view"], row["sex_female"]) == ("train_1", "PA", "1")
    assert (row["Medical material"], row["Cardiomegaly"]) == ("", "1")
    assert {"Effusion", "Fibrosis", "Hernia", "Nodule"} <= set(row)
    with Image.open(tmp_path / "out" / row["path"]) as image:
        assert (image.mode, image.size) == ("L", (32, 40))


@pytest.mark.parametrize("published", [False, True])
def test_contract_of_torchxrayvision(built: Path, tmp_path: Path, published: bool) -> None:
    pytest.importorskip("pandas", reason="pandas is not installed")
    if published:
        export(built, tmp_path / "out", layout="drr-rate", views=["pa=AP"])
        data = PublishedDRRs(tmp_path / "out", style="torchxrayvision")
    else:
        data = StoredDRRs(built, view="pa", style="torchxrayvision")
    assert data.pathologies == list(CT_RATE_LABELS)
    assert (data.labels.dtype, data.labels.shape) == (np.float32, (len(data), 18))
    assert np.isnan(data.labels[0, :2]).all()
    assert len(data.csv) == len(data)
    assert data.csv.iloc[0]["patientid"] == "train_1"
    sample = data[0]
    assert sample["img"].dtype == np.float32
    assert sample["img"].shape == (1, 40, 32)
    assert -1024 <= sample["img"].min() < sample["img"].max() <= 1024


def test_png_holds_the_record(built: Path, tmp_path: Path) -> None:
    assert export(built, tmp_path / "out", layout="png", split="valid") == 2
    assert [row["name"] for row in rows(tmp_path / "out/samples.csv")] == ["valid_2_b_1"]
    with Image.open(tmp_path / "out/pa/valid_2_b_1.png") as image:
        assert "drr-record" in image.info


def test_exports_are_the_same_bytes(built: Path, tmp_path: Path) -> None:
    for name in ("a", "b"):
        export(built, tmp_path / name, layout="drr-rate")
    assert files(tmp_path / "a") == files(tmp_path / "b")
    for name in files(tmp_path / "a"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_only_exports_are_replaced(built: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    export(built, out, layout="png", views=["pa"])  # an empty folder is free
    with pytest.raises(WriteError, match="exists already"):
        export(built, out, layout="png")
    assert export(built, out, layout="chexpert", force=True) == 8
    assert not (out / "samples.csv").exists()
    (out / MARKER).unlink()
    with pytest.raises(WriteError, match="never replaced"):
        export(built, out, layout="png", force=True)
    assert (out / "train.csv").exists()
    with pytest.raises(WriteError, match="does not exist"):
        export(built, tmp_path / "no" / "out", layout="png")
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("samples/name", "../../evil"),
        ("samples/patient", "/etc"),
        ("samples/scan", "a/b"),
        ("samples/split", ".."),
        ("samples/name", "train_1_b_1"),
        ("samples/metadata", "no JSON"),
        ("samples/sex", "X"),
    ],
)
def test_hostile_names_are_refused(built: Path, tmp_path: Path, name: str, value: str) -> None:
    path = tmp_path / "bad.h5"
    shutil.copy(built, path)
    with h5py.File(path, "a") as file:
        file[name][0] = value
    with pytest.raises(DRRError):
        export(path, tmp_path / "out", layout="drr-rate")
    assert [found.name for found in tmp_path.iterdir()] == ["bad.h5"]


def test_nothing_stays_of_an_export_that_fails(built: Path, tmp_path: Path) -> None:
    path = tmp_path / "bad.h5"
    shutil.copy(built, path)
    with h5py.File(path, "a") as file:
        del file["views/ll/record"]
    with pytest.raises(DatasetError, match="cannot be read"):
        export(path, tmp_path / "out", layout="png")
    assert [found.name for found in tmp_path.iterdir()] == ["bad.h5"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"layout": "tar"}, "no layout 'tar'"),
        ({"layout": "png", "views": ["pb"]}, "no view 'pb'"),
        ({"layout": "png", "split": "tset"}, "no sample is left; its splits: train, valid"),
        ({"layout": "png", "views": ["pa=x", "ll=X"]}, "share a folder"),
        ({"layout": "png", "views": ["pa=../x"]}, "no file name may have"),
    ],
)
def test_bad_requests(built: Path, tmp_path: Path, options: dict, message: str) -> None:
    with pytest.raises(DRRError, match=message):
        export(built, tmp_path / "out", **options)
    assert list(tmp_path.iterdir()) == []


def test_damaged_releases_are_told(built: Path, tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="no image"):
        find_drr_rate(tmp_path)
    with pytest.raises(DatasetError, match="cannot be read"):
        find_drr_rate(tmp_path / "nowhere")
    out = tmp_path / "out"
    export(built, out, layout="drr-rate", views=["pa=AP"], split="train")
    (out / "metadata/train_metadata.csv").unlink()
    labels = out / "multi_abnormality_labels/train_predicted_labels.csv"
    labels.write_text(labels.read_text().replace("train_1_b_1.png,1", "train_1_b_1.png,7"))
    samples, problems = find_drr_rate(out)
    assert [p.name for p in problems] == [
        "metadata/train_metadata.csv",
        "train/AP/train_1/train_1_b/train_1_b_1.png",
    ]
    assert len(samples) == 2
    (out / samples[0].study.path).write_bytes(b"no PNG")
    with pytest.raises(DatasetError, match="download it again"):
        PublishedDRRs(out)[0]


def test_command(built: Path, tmp_path: Path) -> None:
    assert COMMAND_LAYOUTS == LAYOUTS
    out = tmp_path / "out"
    done = CliRunner().invoke(main, ["export", str(built), "--format", "png", "-o", str(out)])
    assert done.exit_code == 0, done.output
    assert done.output == f"{out}: 8 images\n"
