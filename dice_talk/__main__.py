"""The command line: `dice-talk`, or `python -m dice_talk`. See docs/cli.md."""

import logging
import signal
import sys
from collections.abc import Sequence

import click

from dice_talk import __version__
from dice_talk.cli import checkpoints, codes, lists, look, node, page, verify, videos
from dice_talk.cli.screen import complain, explain
from dice_talk.errors import DiceTalkError


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 120})
@click.version_option(__version__, prog_name="dice-talk")
def commands() -> None:
    """One portrait, one speech recording and one of eight emotions become a talking-head video."""


for _command in (
    videos.render,
    videos.submit,
    look.preflight,
    page.open_page,
    verify.verify,
    node.node,
    lists.emotions,
    lists.engines,
    checkpoints.download,
    checkpoints.doctor,
    checkpoints.make_tiny_checkpoints,
):
    commands.add_command(_command)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command and return its exit code; see `dice_talk.cli.codes`."""
    try:
        code = commands.main(arguments, prog_name="dice-talk", standalone_mode=False)
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message(), err=True)
        return codes.USAGE
    except click.ClickException as error:
        context = getattr(error, "ctx", None)
        complain(f"{error.format_message()} (see {context.command_path if context else 'dice-talk'} --help)")
        return error.exit_code
    except click.Abort:
        complain("Stopped.")
        return codes.STOPPED
    except (DiceTalkError, OSError) as error:
        complain(explain(error))
        return codes.code_of(error)
    return code or codes.DONE


def run() -> None:
    """Run the command line."""
    logging.getLogger("urllib3").setLevel(logging.ERROR)  # it tells of each try; how they end is told here
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) == signal.SIG_DFL:  # nohup ignores one of them
            signal.signal(number, _end)
    sys.exit(main())


def _end(number: int, _frame: object) -> None:
    """End as after an error, so that unfinished files are removed."""
    sys.exit(128 + number)


if __name__ == "__main__":
    run()
