"""The `drr` command: one module per sub-command, imported only when it is used."""

from __future__ import annotations


def main() -> None: ...
