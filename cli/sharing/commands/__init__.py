"""The program `sharing` and its commands."""

import click

from sharing.commands import figures, jobs, letters, transfers
from sharing.failure import EXIT_CODES
from sharing.session import Group

CODES = "\n".join(f"  {code:<3}  {text}" for code, text in EXIT_CODES.items())


@click.group(cls=Group, epilog=f"\b\nExit codes:\n{CODES}")
@click.version_option(package_name="blob-data-sharing-cli", prog_name="sharing")
def cli() -> None:
    """See and steer Blob Data Sharing: a client of the API of one app.

    The app is the one of --url or SHARING_URL; else of the azd environment in this folder or above it; else the local stack
    at http://127.0.0.1:7071. The key is SHARING_KEY, or is read with azd.
    """


for each in (
    figures.routes,
    transfers.list_transfers,
    transfers.show,
    transfers.watch_command,
    transfers.share,
    transfers.cancel,
    letters.letters,
    letters.replay,
    letters.discard,
    jobs.reconcile,
    jobs.jobs,
    figures.ledger,
    transfers.notify,
    figures.health,
    figures.doctor,
    figures.open_page,
):
    cli.add_command(each)
