"""The `biocache` command: a group that imports a command only when it runs it."""

import io
import os
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from biocache.engine.analysis import ANALYSES
from biocache.store.errors import BiocacheError, SettingError
from biocache.store.text import one_line

if TYPE_CHECKING:
    from biocache.cli.defaults import Defaults

__all__ = ["COMMANDS", "CommandGroup", "biocache", "defaults_of", "main"]

_ASK = "Ask it"
# Heading -> name -> place and short help of the command, so that `biocache --help` imports none; in the order in which
# a newcomer needs them.
_TOUR = {
    "See it work": {
        "demo": ("biocache.cli.demo:demo", "Do the whole study in small, offline, and report it."),
    },
    "Fill a store": {
        "finetune": ("biocache.cli.finetune:finetune", "Fine-tune models on parts of the train split."),
        "extract": ("biocache.cli.extract:extract", "Run a dataset through models and keep every layer."),
        "label": ("biocache.cli.label:label", "Add labels to the text of a store."),
    },
    _ASK: {
        "report": ("biocache.cli.report:report", "Write a store and its results as one HTML page."),
    },
    "Or all of it at once": {
        "study": ("biocache.cli.study:study", "Do all of it for a grid of models and training sizes."),
    },
    "Look after the store": {
        "ls": ("biocache.cli.ls:ls", "List the runs or label sets of a store, or checkpoints."),
        "info": ("biocache.cli.info:info", "Show all that is known of one run."),
        "verify": ("biocache.cli.verify:verify", "Check every file, record and value of a store."),
        "export": ("biocache.cli.export:export", "Write hidden states of one run for other tools."),
        "copy": ("biocache.cli.copy:copy", "Copy runs to another store, or less of them."),
        "rm": ("biocache.cli.rm:rm", "Remove runs, label sets or results."),
        "config": ("biocache.cli.config:config", "Show which options are in force, and from where."),
    },
}
COMMANDS = {name: entry for commands in _TOUR.values() for name, entry in commands.items()}

_QUIET = {
    "TOKENIZERS_PARALLELISM": "false",
    "TRANSFORMERS_VERBOSITY": "error",
    "HF_HUB_VERBOSITY": "error",
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "HF_DATASETS_DISABLE_PROGRESS_BARS": "1",
}
_INTERRUPTED = 130
_EPILOG = """\b
Examples:
  biocache demo
  biocache extract --help

\b
Completion of commands and options by the shell, in its start-up file:
  eval "$(_BIOCACHE_COMPLETE=bash_source biocache)"     bash
  eval "$(_BIOCACHE_COMPLETE=zsh_source biocache)"      zsh
  _BIOCACHE_COMPLETE=fish_source biocache | source      fish"""


# Where the context of the group keeps the defaults of the working folder.
_DEFAULTS = "biocache.defaults"


def defaults_of(ctx: click.Context) -> "Defaults":
    """Return the defaults that a file of the working folder gives options; read once.

    Raises
    ------
    SettingError
        If it cannot be read, or has a table of a command that there is not.
    """
    from biocache.cli.defaults import read_defaults

    if _DEFAULTS not in ctx.meta:
        found = read_defaults(Path.cwd())
        unknown = [name for name in found.commands if name not in (*COMMANDS, *ANALYSES)]
        if unknown:
            raise SettingError(f"{found.file}: there is no command {unknown[0]!r}; `biocache --help` lists them")
        ctx.meta[_DEFAULTS] = found
    defaults: Defaults = ctx.meta[_DEFAULTS]
    return defaults


def _loudness(value: int) -> Callable[[click.Context, click.Parameter, bool], None]:
    def keep(ctx: click.Context, _: click.Parameter, given: bool) -> None:
        if given:
            from biocache.cli.render import set_loudness

            set_loudness(ctx, value)

    return keep


_LOUD = [
    click.Option(
        ["-q", "--quiet"],
        is_flag=True,
        expose_value=False,
        callback=_loudness(-1),
        help="No notes and no progress.",
    ),
    click.Option(
        ["-v", "--verbose"], is_flag=True, expose_value=False, callback=_loudness(1), help="Write how long stages take."
    ),
]


class _Interrupted(click.ClickException):
    exit_code = _INTERRUPTED

    def show(self, file: object = None) -> None:
        click.echo(self.format_message(), err=True)


class CommandGroup(click.Group):
    """The commands of the table, imported when they run; every error of a user is one line."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names of the commands, in the order of a study."""
        return [*COMMANDS, *ANALYSES]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import a command."""
        if cmd_name in ANALYSES and cmd_name not in COMMANDS:
            from biocache.cli.analysis import analysis_command

            command = analysis_command(cmd_name)
        elif cmd_name in COMMANDS:
            module, _, attribute = COMMANDS[cmd_name][0].partition(":")
            command = getattr(import_module(module), attribute)
        else:
            return None
        from biocache.cli.defaults import with_variables

        if _LOUD[0] not in command.params:
            command.params.extend(_LOUD)
        with_variables(cmd_name, command)
        return command

    def resolve_command(self, ctx: click.Context, args: list[str]) -> Any:
        """Find the command, and give it the defaults of the working folder."""
        name, command, rest = super().resolve_command(ctx, args)
        if name is not None and command is not None and not ctx.resilient_parsing:
            ctx.default_map = {name: defaults_of(ctx).of(name, command)}
        return name, command, rest

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the commands below their headings, without importing them."""
        width = max(map(len, self.list_commands(ctx)))
        for heading, commands in _TOUR.items():
            rows = [(name, text) for name, (_, text) in commands.items()]
            if heading == _ASK:
                rows = [*ANALYSES.titles(), *rows]
            with formatter.section(heading):
                formatter.write_dl([(name.ljust(width), text) for name, text in rows])

    def make_context(self, *arguments: Any, **options: Any) -> click.Context:
        """Parse the options before the name of the command."""
        with _printable_errors():
            return super().make_context(*arguments, **options)

    def invoke(self, ctx: click.Context) -> object:
        """Run the command; turn what a user can fix into one line on stderr."""
        try:
            with _printable_errors():
                return super().invoke(ctx)
        except KeyboardInterrupt as error:
            raise _Interrupted("Interrupted; what is committed stays, and the same command resumes") from error
        except BiocacheError as error:
            raise click.ClickException(one_line(error)) from error
        except OSError as error:
            if error.filename is None:
                raise
            raise click.ClickException(one_line(f"{error.strerror}: {error.filename}")) from error


@contextmanager
def _printable_errors() -> Iterator[None]:
    """Escape what users and files wrote in the messages of click."""
    try:
        yield
    except click.ClickException as error:
        message = one_line(error.format_message())
        if isinstance(error, click.BadParameter) and error.ctx is not None:
            from biocache.cli.defaults import source_of

            place = source_of(error.param, error.ctx, defaults_of(error.ctx).file)
            message += f" ({place})" if place else ""
        error.format_message = lambda: message  # type: ignore[method-assign]
        raise


@click.group(
    cls=CommandGroup,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog=_EPILOG,
)
@click.version_option(package_name="biocache", prog_name="biocache")
def biocache() -> None:
    """Cache the hidden states and attention maps of transformers, and query them.

    A dataset is read once through each model; every later question is answered from the store, which --store or the
    variable BIOCACHE_STORE names (default: biocache.zarr). Options have variables, and defaults in biocache.toml:
    `biocache config --help`.
    """


def main() -> None:
    """Run the command line, with the output of libraries turned off."""
    for name, value in _QUIET.items():
        os.environ.setdefault(name, value)
    if not sys.warnoptions:
        warnings.simplefilter("ignore")
    # A terminal that is not UTF-8 cannot show every character of a corpus.
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        biocache(prog_name="biocache")
    except KeyboardInterrupt:
        sys.exit(_INTERRUPTED)


if __name__ == "__main__":
    main()
