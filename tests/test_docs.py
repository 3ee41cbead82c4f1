"""Every code block of the documentation does what it says.

The blocks of a document run in order, in one folder and one Python namespace, beside the files
that the text takes for granted: `ct.nii.gz`, its `labels.nii.gz`, and `scans/` with two CTs.
"""

from __future__ import annotations

import re
import shlex
import shutil
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from drr.cli import main

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parent.parent
DOCUMENTS = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    ROOT / "kernels/cpu/compiler/README.md",
    *sorted((ROOT / "docs").glob("*.md")),
]
BLOCK = re.compile(r"^```(\w*)[^\n]*\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LANGUAGES = ("python", "sh", "text", "json", "")


def blocks(text: str) -> list[tuple[int, str, str]]:
    """Line, language and content of every fenced block."""
    return [(text.count("\n", 0, m.start()) + 2, m[1], m[2]) for m in BLOCK.finditer(text)]


@pytest.fixture(scope="module")
def supplies(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("supplies")
    make = ["phantom", str(folder / "ct.nii.gz"), "--size", "64"]
    result = CliRunner().invoke(main, [*make, "--labels", str(folder / "labels.nii.gz")])
    assert result.exit_code == 0, result.output
    (folder / "scans").mkdir()
    for name in ("a", "b"):
        shutil.copy(folder / "ct.nii.gz", folder / "scans" / f"{name}.nii.gz")
    return folder


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_code_blocks_run(
    document: Path, supplies: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    work = tmp_path / "work"
    shutil.copytree(supplies, work)
    monkeypatch.chdir(work)
    monkeypatch.setattr(sys, "argv", ["documentation"])
    namespace: dict[str, object] = {"__name__": "documentation"}
    for line, language, content in blocks(document.read_text(encoding="utf-8")):
        assert language in LANGUAGES, f"{document.name}:{line}: no way to run {language!r}"
        if language == "python":
            # Padded so that a traceback shows the document's own line.
            source = "\n" * (line - 1) + content
            exec(compile(source, str(document), "exec"), namespace)
        elif language == "sh":
            for offset, command in enumerate(content.splitlines()):
                run_command(command, f"{document.name}:{line + offset}")


def run_command(command: str, place: str) -> None:
    """Run a `drr` command; of others check that what they name exists."""
    words = shlex.split(command, comments=True)
    if not words:
        return
    program, *arguments = words
    if program == "make":
        targets = re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
        unknown = [a for a in arguments if "=" not in a and a not in targets]
        assert not unknown, f"{place}: Makefile has no target {unknown}"
    elif program == "pip":
        pyproject = (ROOT / "pyproject.toml").read_text()
        for extra in re.findall(r"\[([\w,]+)\]", command):
            for name in extra.split(","):
                assert re.search(rf"^{name} = \[", pyproject, re.MULTILINE), f"{place}: {name}"
    elif program == "drr":
        if arguments[0] == "sample":
            arguments.append("--help")  # the real thing needs a network
        result = CliRunner().invoke(main, arguments)
        assert result.exit_code == 0, f"{place}: {command}\n{result.output}"
    else:
        assert program in ("git", "cd"), f"{place}: no way to check {program!r}"


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_links_within_the_repository_lead_somewhere(document: Path) -> None:
    text = document.read_text(encoding="utf-8")
    links = re.findall(r"\]\(([^)#\s]+)[^)]*\)|(?:src|href)=\"([^\"#]+)\"", text)
    for link in (a or b for a, b in links):
        if "://" not in link and not link.startswith("mailto:"):
            assert (document.parent / link).exists(), f"{document.name}: {link}"


def test_readme_documents_every_command_and_says_what_it_is_not_for() -> None:
    from drr.cli import COMMANDS

    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert "not for diagnosis" in text.lower()
    assert not [name for name in COMMANDS if f"drr {name}" not in text]
