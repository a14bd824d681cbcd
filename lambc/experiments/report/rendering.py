"""A report as Markdown and as one HTML file. Names in a log are strangers' text, so all of it is escaped."""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from typing import Any

import plotly.graph_objects as go
import pyarrow as pa

STYLE = """
body { font: 15px/1.5 "Source Sans 3", "Helvetica Neue", Arial, sans-serif; color: #26282b; max-width: 1040px;
       margin: 2.5rem auto; padding: 0 1.5rem; }
h1, h2 { line-height: 1.2; } h2 { margin-top: 2.5rem; }
.notice { background: #fdf3e3; border-left: 3px solid #d9701a; padding: .4rem .8rem; }
.table { overflow-x: auto; } table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: .25rem .8rem .25rem 0; border-bottom: 1px solid #e7e8ea; text-align: left; vertical-align: top; }
.number { text-align: right; } pre { background: #f4f6f6; padding: .8rem; overflow-x: auto; }
summary { color: #70757c; cursor: pointer; }
"""

# Nothing is fetched, whatever a name in the log says.
POLICY = "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data: blob:"


@dataclass(frozen=True)
class Section:
    """A part of the report. question: the statement in `statements/` whose answer is its table."""

    title: str
    text: Sequence[str] = ()
    question: str = ""
    table: pa.Table | None = None
    figure: go.Figure | None = None


@dataclass(frozen=True)
class Report:
    """All of it. notice: what was made smaller, said in every section. statements: what was asked, by name."""

    title: str
    text: Sequence[str]
    notice: str
    sections: Sequence[Section]
    statements: Mapping[str, str] = field(default_factory=dict)


def markdown(report: Report) -> str:
    """The report as Markdown; figures are left to the HTML, and each has a table here."""
    lines = [f"# {_plain(report.title)}", *map(_prose, report.text)]
    for section in report.sections:
        lines.append(f"## {_plain(section.title)}")
        lines += [f"> {_prose(report.notice)}"] if report.notice else []
        lines.append(_paragraphs(section))
        if section.table is not None:
            lines += [_markdown_table(section.table), f"SQL: [`{section.question}`](#sql-{section.question})"]
    lines.append("## The statements")
    lines.append('Each can be put to the log: `lambc sql --runs DIR "…"`.')
    for name, statement in report.statements.items():
        lines.append(f"### sql-{name}\n\n```sql\n{statement.strip()}\n```")
    return "\n\n".join(line for line in lines if line) + "\n"


def html(report: Report) -> str:
    """The report as one HTML file that fetches nothing; Plotly is in it once, if there is a figure."""
    parts = [f"<h1>{escape(report.title)}</h1>", *(f"<p>{_prose_html(text)}</p>" for text in report.text)]
    script: bool = True
    for section in report.sections:
        parts.append(f"<h2>{escape(section.title)}</h2>")
        parts += [f'<p class="notice">{_prose_html(report.notice)}</p>'] if report.notice else []
        parts += [f"<p>{_prose_html(text)}</p>" for text in section.text]
        if section.figure is not None:
            parts.append(
                section.figure.to_html(full_html=False, include_plotlyjs=script, config={"displaylogo": False})
            )
            script = False
        if section.table is not None:
            parts.append(_html_table(section.table))
            statement = report.statements[section.question].strip()
            parts.append(f"<details><summary>SQL: {section.question}</summary><pre>{escape(statement)}</pre></details>")
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">'
        f'<meta name="viewport" content="width=device-width"><title>{escape(report.title)}</title>'
        f"<style>{STYLE}</style></head><body>{''.join(parts)}</body></html>\n"
    )


def cell(value: Any) -> str:
    """A value as both pages show it; nothing for NULL."""
    match value:
        case None:
            return ""
        case bool():
            return str(value).lower()
        case int():
            return f"{value:,}"
        case float():
            return f"{value:,.10g}" if math.isfinite(value) else str(value)
        case list():
            return f"[{', '.join(map(cell, value))}]"
    return str(value)


def code(text: str) -> str:
    """A stranger's name in a sentence: on one line, and nothing in it is read as Markdown or HTML."""
    return f"`{' '.join(text.replace('`', chr(39)).split())}`"


def _paragraphs(section: Section) -> str:
    together = "\n".join if all(text.startswith("- ") for text in section.text) else "\n\n".join
    return together(map(_prose, section.text))


def _markdown_table(table: pa.Table) -> str:
    marks = ["---:" if _is_number(kind) else "---" for kind in table.schema.types]
    rows = [table.column_names, *([cell(value) for value in row.values()] for row in table.to_pylist())]
    first, *others = (f"| {' | '.join(map(_plain, row))} |" for row in rows)
    return "\n".join([first, f"|{'|'.join(marks)}|", *others])


def _html_table(table: pa.Table) -> str:
    classes = [' class="number"' if _is_number(kind) else "" for kind in table.schema.types]
    head = "".join(f"<th{name}>{escape(text)}</th>" for name, text in zip(classes, table.column_names, strict=True))
    rows = (
        "".join(f"<td{name}>{escape(cell(value))}</td>" for name, value in zip(classes, row.values(), strict=True))
        for row in table.to_pylist()
    )
    body = "".join(f"<tr>{row}</tr>" for row in rows)
    return f'<div class="table"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


def _is_number(kind: pa.DataType) -> bool:
    return pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind)


def _plain(text: str) -> str:
    """On one line, with nothing in it that Markdown or HTML reads as its own."""
    return re.sub(r"([\\`*_\[\]<>|~])", r"\\\1", " ".join(text.split())).replace("\\<", "&lt;").replace("\\>", "&gt;")


def _prose(text: str) -> str:
    """A sentence of ours, in which `code` and **weight** stay, but no HTML."""
    parts = re.split(r"(`[^`]*`)", " ".join(text.split()))
    return "".join(part if part.startswith("`") else part.replace("<", "&lt;") for part in parts)


def _prose_html(text: str) -> str:
    marked = re.sub(r"`([^`]+)`", r"<code>\1</code>", escape(text, quote=False))
    return re.sub(r"\*\*([^*]+)\*\*", r"<b>\1</b>", marked).removeprefix("- ")
