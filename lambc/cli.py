"""The `lambc` command: train, look, ask. Every command imports what it uses when it uses it.

Its output is on stdout; progress and errors are on stderr. What a user can mend is one line there, and exit code 2.
"""

from collections.abc import Callable
from importlib.metadata import version
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from lambc.commands import asking, demo, keeping, reproducing, serving, training
from lambc.commands.needs import refuse_hidden
from lambc.commands.terminal import fail, out, write_any_sign


class Commands(TyperGroup):
    """Says in one line what is wrong with a command line, and how to get help."""

    def main(self, *arguments: Any, **options: Any) -> Any:
        """Take a command line, on a terminal of any encoding."""
        write_any_sign()
        return super().main(*arguments, **options)

    def invoke(self, context: Any) -> Any:
        """Run the command that was named."""
        try:
            return super().invoke(context)
        except typer.TyperException as error:
            command = f"lambc {context.invoked_subcommand or ''}".rstrip()
            reason = " ".join(error.format_message().split()).replace("Value error, ", "").rstrip(".")
            fail(f"{reason}: see {command} --help")
        except KeyboardInterrupt:
            fail("interrupted", code=130)


app = typer.Typer(
    cls=Commands,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    context_settings={"help_option_names": ["-h", "--help"]},
)


def print_version(wanted: bool) -> None:
    """Print the version and end, if it is wanted."""
    if wanted:
        out.print(f"lambc {version('lambc')}")
        raise typer.Exit


@app.callback()
def main(
    show_version: Annotated[
        bool, typer.Option("--version", is_eager=True, callback=print_version, help="Print the version and end.")
    ] = False,
) -> None:
    """Train with clipped trust ratios, and see which layers are clipped, when and how often."""
    refuse_hidden("collector")
    from collector.system import check_system

    try:
        check_system()
    except ImportError as error:
        fail(str(error))


COMMANDS: dict[str, Callable[..., None]] = {
    "train": training.train,
    "demo": demo.demo,
    "reproduce": reproducing.reproduce,
    "runs": asking.list_runs,
    "sql": asking.sql,
    "dashboard": serving.dashboard,
    "check": keeping.check,
    "compact": keeping.compact,
    "export": keeping.export,
    "rm": keeping.rm,
}
"""In the order in which they are listed."""

for name, command in COMMANDS.items():
    app.command(name)(command)
