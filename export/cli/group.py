"""The command `voirs-vocoder`: its subcommands, and the exit status of every failure."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence
from typing import Any

import click

from voirs_vocoder.export.cli.command import printed_help
from voirs_vocoder.export.cli.console import console_messages
from voirs_vocoder.export.cli.failure import report_failure
from voirs_vocoder.export.cli.process import INTERRUPTED, PIPE_CLOSED, require_resources
from voirs_vocoder.runtime.printing import OutputPipeClosedError, remark, say

__all__ = ["main"]

# Command -> module of this package, in the order of the help.
_COMMANDS = {
    "export": "export",
    "quantize": "quantize",
    "build-engine": "build_engine",
    "validate": "validate",
    "compare": "compare",
    "tune": "tune",
    "vocode": "vocode",
    "stream": "stream",
    "bench": "bench",
    "inspect": "inspect",
    "sign": "sign",
    "verify": "verify",
    "pack": "pack",
    "unpack": "unpack",
    "doctor": "doctor",
}
# Command -> what it asks of `require_resources`, if that is not 2.
_LIBRARIES = {
    "export": 4,
    "vocode": 1,
    "stream": 1,
    "inspect": 1,
    "sign": 1,
    "verify": 1,
    "pack": 1,
    "unpack": 1,
    "doctor": 1,
}


class _Group(click.Group):
    """Commands that are imported when they are named; every failure is one line on stderr."""

    # The command that was resolved last, for the message of its failure.
    _command: click.Command | None = None

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _COMMANDS:
            return None
        require_resources(1)
        command: click.Command = importlib.import_module(f"{__package__}.{_COMMANDS[cmd_name]}").command
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        name, self._command, rest = super().resolve_command(ctx, args)
        require_resources(_LIBRARIES.get(name or "", 2))
        return name, self._command, rest

    def get_help_option(self, ctx: click.Context) -> click.Option | None:
        return printed_help(super().get_help_option(ctx))

    def main(
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        complete_var: str | None = None,
        standalone_mode: bool = True,
        windows_expand_args: bool = True,
        **extra: Any,
    ) -> Any:
        def run() -> Any:
            return super(_Group, self).main(
                args, prog_name, complete_var, False, windows_expand_args=windows_expand_args, **extra
            )

        if not standalone_mode:
            return run()
        with console_messages():
            try:
                result = run()
                status = result if isinstance(result, int) else 0
            except click.Abort:
                remark("interrupted")
                status = INTERRUPTED
            except OutputPipeClosedError:
                status = PIPE_CLOSED
            except Exception as error:  # the last resort: status 70 and one line
                status = report_failure(error, self._command)
        sys.exit(status)


def _print_version(context: click.Context, _: click.Parameter, wanted: bool) -> None:
    if wanted and not context.resilient_parsing:
        from importlib.metadata import version

        say(f"voirs-vocoder, version {version('voirs-vocoder')}")
        context.exit()


@click.group(
    "voirs-vocoder",
    cls=_Group,
    invoke_without_command=True,
    no_args_is_help=False,
    context_settings={
        "help_option_names": ["-h", "--help"],
        "max_content_width": 100,
        "show_default": True,
    },
    epilog="Exit status: 0 success, 1 a gate failed, 2 wrong usage or bad input, 70 a bug in this program.",
)
@click.option(
    "--version",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_print_version,
    help="Show the version and exit.",
)
@click.pass_context
def main(context: click.Context) -> None:
    """Turn a trained neural vocoder into validated ONNX graphs and TensorRT engines, and synthesize with them."""
    if context.invoked_subcommand is None:
        remark(*context.get_help().splitlines())
        context.exit(2)
