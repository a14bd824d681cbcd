"""`python -m lambc` is the `lambc` command."""

from lambc.cli import app

app(prog_name="lambc")
