"""The command line. `dice_talk.__main__` assembles the commands; see docs/cli.md."""
