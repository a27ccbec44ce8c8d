"""The command line. Each command is a module of this package, imported when it is asked for."""

from voirs_vocoder.export.cli.group import main

__all__ = ["main"]
