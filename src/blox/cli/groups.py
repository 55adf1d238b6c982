"""A group of commands of which one need not be named."""

from collections.abc import Sequence
from typing import Any

import click


class DefaultGroup(click.Group):
    """`GROUP WORD…` is `GROUP DEFAULT WORD…`, unless a word that is no option is a command.

    `--help` shows the default's options, too.
    """

    def __init__(
        self, *args: Any, default: str, usage: str, alone: bool = False, **kwargs: Any
    ) -> None:
        """`usage`: what may follow the group's name. `alone`: the group's name by itself is the
        default, too, and not a question for help."""
        super().__init__(*args, **kwargs)
        self._default = default
        self._usage = usage
        self._alone = alone

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Name the default where no command is named."""
        named = self._names_command(ctx, args) if args else not self._alone
        if not named and not set(args) & {"-h", "--help"}:
            args = [self._default, *args]
        return super().parse_args(ctx, args)

    def get_params(self, ctx: click.Context) -> list[click.Parameter]:
        """The default's options and the group's own."""
        default = self.commands.get(self._default)
        theirs = [] if default is None else default.get_params(ctx)
        own = super().get_params(ctx)
        known = {flag for parameter in own for flag in parameter.opts}
        options = [
            parameter
            for parameter in theirs
            if isinstance(parameter, click.Option) and not known & set(parameter.opts)
        ]
        return [*options, *own]

    def collect_usage_pieces(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        """What may follow the group's name."""
        return [self._usage]

    def _names_command(self, ctx: click.Context, args: Sequence[str]) -> bool:
        """Whether the first word that is neither an option nor an option's value is a command."""
        takes_value = {
            flag
            for parameter in self.get_params(ctx)
            if isinstance(parameter, click.Option) and not parameter.is_flag
            for flag in parameter.opts
        }
        words = iter(args)
        for word in words:
            if word in takes_value:
                next(words, None)
            elif not word.startswith("-"):
                return word in self.commands
        return False
