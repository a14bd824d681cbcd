"""`python -m lambc` is the `lambc` command."""

import os
import sys

from lambc.beside import ROOT

# Python looks into the working directory first, where an app.py or a collector.py may lie.
if not sys.flags.safe_path and sys.path[0] == os.getcwd() != str(ROOT):
    del sys.path[0]

from lambc.cli import app

app(prog_name="lambc")
