"""What all commands share: their options, the client and the output."""

import os
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import Any

import click

from sharing import config
from sharing.client import Client
from sharing.output import Output


class Session:
    """One call of the program. `given` holds the options that every command has."""

    def __init__(self) -> None:
        self.given: dict[str, Any] = {}

    @cached_property
    def out(self) -> Output:
        """The output."""
        return Output(as_json=bool(self.given.get("json")))

    @cached_property
    def client(self) -> Client:
        """The client. Raises Failure if the address or the key cannot be found."""
        return Client(config.find(self.given, os.environ, Path.cwd()), self.out.say)

    def close(self) -> None:
        """Close the connections of the client, if there is one."""
        if "client" in vars(self):
            self.client.close()


def _keep(context: click.Context, option: click.Parameter, value: Any) -> None:
    if value and option.name:
        context.find_object(Session).given[option.name] = value  # type: ignore[union-attr]


def _options() -> list[click.Parameter]:
    """The options that every command has, before and after its name."""
    better = "Other users of this machine can read options: better set"
    shared: dict[str, Any] = {"expose_value": False, "callback": _keep}
    return [
        click.Option(["--url"], **shared, metavar="URL", help="The app. Default: SHARING_URL, azd, the local stack."),
        click.Option(["--key"], **shared, metavar="KEY", help=f"The function key. {better} SHARING_KEY."),
        click.Option(["--token"], **shared, metavar="TOKEN", help=f"A token for Entra ID. {better} SHARING_TOKEN."),
        click.Option(["--json"], **shared, is_flag=True, help="Print one JSON object per line, without colors."),
    ]


class Command(click.Command):
    """A command with the shared options, and with examples below its help."""

    def __init__(self, *args: Any, examples: tuple[str, ...] = (), **kwargs: Any) -> None:
        if examples:
            kwargs["epilog"] = "\n".join(["\b", "Examples:", *(f"  {each}" for each in examples)])
        super().__init__(*args, **kwargs)
        self.params += _options()


class Group(click.Group):
    """The program: its commands stay in the order of their subjects."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.params += _options()

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002  # click's signature
        """Return the names in the order in which the commands were added."""
        return list(self.commands)


def command(*examples: str, name: str | None = None) -> Callable[[Callable[..., Any]], Command]:
    """Return a decorator that makes a function a command with these examples."""
    return click.command(name, cls=Command, examples=examples)
