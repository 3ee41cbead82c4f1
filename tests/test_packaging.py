"""The package as users get it: wheel, wheel from the sdist, editable install; and lazy imports."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tarfile
import venv
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
HEAVY = ("numpy", "numba", "llvmlite", "SimpleITK", "nibabel", "pydicom", "h5py", "PIL", "torch")
# Imported from the installed package only, whatever the working folder holds.
IMPORTS = (
    "import drr, drr.kernels.cpu.projection.project, drr.kernels.reference.projection;"
    "import drr.datasets.phantom.shapes, drr.cli.project, drr.io.read; print(drr.__file__)"
)

pytestmark = pytest.mark.skipif(
    not (ROOT / "pyproject.toml").is_file(), reason="needs the checkout's pyproject.toml"
)


def python(*arguments: str, cwd: Path, **environment: str) -> str:
    """Run this interpreter; its output, or a failure that shows it."""
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=cwd,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, f"{arguments}:\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the files that packaging reads, so that builds leave the checkout alone."""
    copy = tmp_path_factory.mktemp("checkout")
    for name in ("pyproject.toml", "setup.py", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, copy)
    for name in ("drr", "kernels", "datasets"):
        shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
    return copy


@pytest.fixture(scope="module")
def sdist(checkout: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The unpacked source distribution."""
    folder = tmp_path_factory.mktemp("sdist")
    name = _build(checkout, "sdist", folder)
    with tarfile.open(folder / name) as archive:
        archive.extractall(folder)
    return folder / name.removesuffix(".tar.gz")


def _build(source: Path, kind: str, folder: Path) -> str:
    """Build in a process of its own with the setuptools installed here; the file's name."""
    code = (
        "import sys; from setuptools import build_meta as backend;"
        "print('built', getattr(backend, 'build_' + sys.argv[1])(sys.argv[2]))"
    )
    return python("-c", code, kind, str(folder), cwd=source).split("built ")[-1].strip()


@pytest.fixture(scope="module", autouse=True)
def _setuptools() -> None:
    from importlib.metadata import version

    if int(version("setuptools").split(".")[0]) < 77:
        pytest.skip("setuptools 77 or newer is needed: pip install --upgrade setuptools")


@pytest.mark.parametrize("origin", ["checkout", "sdist"])
def test_wheel_holds_all_of_the_package_and_imports(
    origin: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    wheel = tmp_path / _build(request.getfixturevalue(origin), "wheel", tmp_path)
    python(str(ROOT / "tests" / "wheel_contents.py"), str(wheel), cwd=tmp_path)
    site = tmp_path / "site"
    shutil.unpack_archive(wheel, site, "zip")
    # First on the path, so that the environment's own drr-rate is not what is imported.
    imported = python("-c", IMPORTS, cwd=tmp_path, PYTHONPATH=str(site))
    assert Path(imported.strip()).is_relative_to(site)
    assert [p.name for p in site.iterdir() if not p.name.endswith(".dist-info")] == ["drr"]


def test_contents_check_finds_what_is_missing_and_what_is_too_much(
    checkout: Path, tmp_path: Path
) -> None:
    """The check of the wheel would notice an unlisted subpackage and a stray top-level one."""
    import zipfile

    wheel = tmp_path / "bad.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("kernels/__init__.py", "")
    done = subprocess.run(
        [sys.executable, str(ROOT / "tests" / "wheel_contents.py"), str(wheel)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "missing: drr/kernels/cpu/projection/project.py" in done.stdout
    assert "does not belong: kernels/__init__.py" in done.stdout


def test_editable_install_follows_the_checkout(checkout: Path, tmp_path: Path) -> None:
    environment = tmp_path / "venv"
    venv.create(environment, with_pip=False, symlinks=os.name != "nt")
    binaries = environment / ("Scripts" if os.name == "nt" else "bin")
    own = binaries / ("python.exe" if os.name == "nt" else "python")
    site = subprocess.run(
        [own, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.strip()
    code = "import sys; from setuptools import build_meta; build_meta.build_editable(sys.argv[1])"
    python("-c", code, str(tmp_path), cwd=checkout)
    (wheel,) = tmp_path.glob("*.whl")
    shutil.unpack_archive(wheel, site, "zip")
    # The dependencies are this environment's; the editable finder puts itself before them.
    import numpy

    (Path(site) / "dependencies.pth").write_text(str(Path(numpy.__file__).parents[1]))
    done = subprocess.run(
        [own, "-c", IMPORTS + "; import drr.kernels; print(drr.kernels.__file__)"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    files = [Path(line).resolve() for line in done.stdout.split()]
    assert files == [
        (checkout / "drr" / "__init__.py").resolve(),
        (checkout / "kernels" / "__init__.py").resolve(),
    ]


def _imported(code: str) -> set[str]:
    listed = python("-c", f"{code}; import sys; print(*sys.modules)", cwd=Path.home())
    return set(listed.split())


def test_import_drr_is_instant() -> None:
    modules = _imported("import drr; dir(drr)")
    assert not modules & set(HEAVY)
    assert "drr.volume" not in modules


def test_public_names_all_resolve(tmp_path: Path) -> None:
    python("-c", "import drr; [getattr(drr, name) for name in drr.__all__]", cwd=tmp_path)


@pytest.mark.parametrize(
    "command", ["", "project", "inspect", "phantom", "sample", "doctor", "completion", "evaluate"]
)
def test_help_imports_nothing_heavy(command: str) -> None:
    arguments = [*command.split(), "--help"]
    modules = _imported(
        f"from click.testing import CliRunner; from drr.cli import main;"
        f"result = CliRunner().invoke(main, {arguments!r}); assert result.exit_code == 0, result"
    )
    assert not modules & set(HEAVY)


@pytest.mark.parametrize(
    ("name", "floor"),
    [
        ("SimpleITK", (2, 5, 3)),
        ("pydicom", (3, 0, 2)),
        ("h5py", (3, 16)),
        ("pillow", (12, 2)),
        ("torch", (2, 10)),
    ],
)
def test_no_version_with_known_holes_is_allowed(name: str, floor: tuple[int, ...]) -> None:
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    found = re.findall(rf'"{name}(?:>=|==)([0-9.]+)"', text)
    assert found
    for version in found:
        assert tuple(int(part) for part in version.split(".")) >= floor
