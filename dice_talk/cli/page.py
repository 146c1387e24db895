"""`open`: the page of a server, in the browser."""

import webbrowser

import click

from dice_talk.cli import codes
from dice_talk.cli.options import SERVER
from dice_talk.cli.screen import complain, tell
from dice_talk.client import Client


@click.command("open")
@SERVER
def open_page(server: str) -> int:
    """Open the page of a running server in the browser.

    Prints its address. Exit code 3 if no server answers, 1 if there is no browser.
    """
    with Client(server, retries=0) as client:
        client.health()
        address = f"{client.server}/"
    tell(address)
    if webbrowser.open(address):
        return codes.DONE
    complain("There is no browser here that could be started. Open the address above in one.")
    return codes.FAILED
