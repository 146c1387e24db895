"""The command line. `dice_talk.__main__` puts the commands together; see docs/cli.md."""
