"""`drr completion`: the script that teaches a shell to complete `drr`."""

from __future__ import annotations

import click

__all__ = ["command"]

SHELLS = ("bash", "zsh", "fish")


@click.command("completion")
@click.argument("shell", type=click.Choice(SHELLS))
@click.pass_context
def command(context: click.Context, shell: str) -> None:
    """Print the completion script of a SHELL: bash, zsh or fish.

    \b
    bash:  drr completion bash > ~/.local/share/bash-completion/completions/drr
    zsh:   drr completion zsh > ~/.zfunc/_drr      (a folder of your $fpath)
    fish:  drr completion fish > ~/.config/fish/completions/drr.fish
    """
    from click.shell_completion import get_completion_class

    completion = get_completion_class(shell)
    assert completion is not None
    root = context.find_root()
    # Click checks the version of the user's bash with the script; printing it needs no bash.
    script = completion(root.command, {}, "drr", "_DRR_COMPLETE")
    click.echo(script.source_template % script.source_vars())
