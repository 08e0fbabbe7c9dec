"""The tables of the command line, from its click commands."""

from collections.abc import Collection, Iterator

import click
from sharing.commands import cli
from sharing.failure import EXIT_CODES

from devhost.reference.tables import code, table


def commands() -> str:
    """Every command with its arguments and options; those that all commands have are left out."""
    shared = {option.name for option in cli.params}
    rows = (
        (code(_usage(name, command)), command.get_short_help_str(200), ", ".join(_options(command, shared)))
        for name, command in cli.commands.items()
    )
    return table(("command", "does", "options"), rows)


def exit_codes() -> str:
    """Every exit code."""
    return table(("exit code", "meaning"), ((str(number), text) for number, text in EXIT_CODES.items()))


def _usage(name: str, command: click.Command) -> str:
    arguments = [
        each.make_metavar(click.Context(command)) for each in command.params if isinstance(each, click.Argument)
    ]
    return " ".join(("sharing", name, *arguments)).replace("|", "\\|")


def _options(command: click.Command, shared: Collection[str | None]) -> Iterator[str]:
    for each in command.params:
        if isinstance(each, click.Option) and each.name not in shared:
            yield code(each.opts[0])
