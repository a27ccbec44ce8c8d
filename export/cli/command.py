"""The shape of a command's help: options in titled groups, and examples at the end."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

from voirs_vocoder.runtime.printing import say

__all__ = ["Command", "GroupedOption", "option", "printed_help"]

_Function = Callable[..., Any]

# A command with fewer options lists them under one title.
_FEWEST_GROUPED = 12
_OTHER = "Other"


class GroupedOption(click.Option):
    """An option with the title of the group that lists it in the help of a command with many options.

    Attributes:
        group: Title of the group.
    """

    def __init__(self, *args: Any, group: str = _OTHER, **kwargs: Any) -> None:
        """Declare the option.

        Args:
            *args: Arguments of `click.Option`.
            group: Title of the group.
            **kwargs: Arguments of `click.Option`.
        """
        super().__init__(*args, **kwargs)
        self.group = group

    def get_help_extra(self, ctx: click.Context) -> Any:
        """Default, range and `required` as click shows them, but without parentheses around a default in words."""
        extra = super().get_help_extra(ctx)
        if isinstance(self.show_default, str):
            extra["default"] = self.show_default
        return extra


def option(*names: str, group: str = _OTHER, **attributes: Any) -> Callable[[_Function], _Function]:
    """Decorator that adds a `GroupedOption` to a command.

    Args:
        *names: Names of the option, as `click.option` takes them.
        group: Title of the group that lists it.
        **attributes: Arguments of `click.option`.
    """
    return click.option(*names, cls=GroupedOption, group=group, **attributes)


def printed_help(option: click.Option | None) -> click.Option | None:
    """Let the option `--help` print as every command does, so that a lost help text is an error.

    Args:
        option: The option; None for a command that has none.

    Returns:
        The option that was given.
    """

    def show(context: click.Context, _: click.Parameter, wanted: bool) -> None:
        if wanted and not context.resilient_parsing:
            say(*context.get_help().splitlines())
            context.exit()

    if option is not None:
        option.callback = show
    return option


class Command(click.Command):
    """A command whose help lists options in groups, in the order of their first option, and ends with examples.

    Attributes:
        examples: Command lines.
    """

    def __init__(self, *args: Any, examples: tuple[str, ...], **kwargs: Any) -> None:
        """Declare the command.

        Args:
            *args: Arguments of `click.Command`.
            examples: Command lines, printed as they are.
            **kwargs: Arguments of `click.Command`.
        """
        super().__init__(*args, **kwargs)
        self.examples = examples

    def get_help_option(self, ctx: click.Context) -> click.Option | None:
        """The option `--help`; None if the command has none."""
        return printed_help(super().get_help_option(ctx))

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the options, in groups where there are many."""
        declared = [parameter for parameter in self.get_params(ctx) if isinstance(parameter, click.Option)]
        shown = [(each, record) for each in declared if (record := each.get_help_record(ctx)) is not None]
        groups: dict[str, list[tuple[str, str]]] = {}
        for each, record in shown:
            title = getattr(each, "group", _OTHER) if len(shown) >= _FEWEST_GROUPED else "Options"
            groups.setdefault(title, []).append(record)
        if _OTHER in groups:
            groups[_OTHER] = groups.pop(_OTHER)
        for title, records in groups.items():
            with formatter.section(title):
                formatter.write_dl(records)

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the examples."""
        with formatter.section("Examples" if len(self.examples) > 1 else "Example"):
            for example in self.examples:
                formatter.write(f"  {example}\n")
