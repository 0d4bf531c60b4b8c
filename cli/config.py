"""`biocache config`."""

from dataclasses import asdict
from typing import Any

import click

from biocache.cli.defaults import in_force
from biocache.cli.options import json_option
from biocache.cli.render import note, print_json, print_table

__all__ = ["config"]

_EXAMPLES = """\b
Examples:
  biocache config
  biocache config probe --json"""


@click.command(epilog=_EXAMPLES, short_help="Show which options are in force, and from where.")
@click.argument("command", required=False)
@click.option("--all", "everything", is_flag=True, help="Show options at their defaults too, of all commands.")
@json_option
@click.pass_context
def config(ctx: click.Context, command: str | None, *, everything: bool, as_json: bool) -> None:
    """Show the values of options that a command takes where its command line names none.

    The first that says so decides: the command line; a variable of the environment, such as BIOCACHE_PROBE_TASK for
    `biocache probe --task`; biocache.toml of the working folder, or [tool.biocache] of its pyproject.toml, in which
    `store = "s.zarr"` holds for all commands and `task = "ner"` below `[probe]` for one; the default. With COMMAND all
    options of a command are shown, else those of all commands that are not at their default.
    """
    from biocache.cli.main import biocache, defaults_of

    parent = ctx.find_root()
    defaults = defaults_of(parent)
    names = [command] if command else biocache.list_commands(parent)
    rows: list[dict[str, Any]] = []
    for name in names:
        found = biocache.get_command(parent, name)
        if found is None:
            raise click.UsageError(f"there is no command {name!r}; `biocache --help` lists them")
        context = click.Context(found, parent=parent, info_name=name)
        context.default_map = defaults.of(name, found)
        values = in_force(found, context, defaults.file)
        shown = [value for value in values if command or everything or value.source != "default"]
        rows.extend({"command": name, **asdict(value)} for value in shown)
    if as_json:
        print_json(rows)
    elif rows:
        print_table(("command", "option", "value", "source"), [list(row.values()) for row in rows])
    else:
        note("every option is at its default; `biocache config COMMAND` shows them")
