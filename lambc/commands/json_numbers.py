"""Answers as JSON can say them: it has no NaN and no Inf, wherever in a value they stand."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from duckdb import DuckDBPyRelation, Expression


def finite(answer: "DuckDBPyRelation") -> "DuckDBPyRelation":
    """The answer with NULL instead of NaN and Inf, in lists, structs and maps, too."""
    from duckdb import SQLExpression

    columns = []
    for place, (name, kind) in enumerate(zip(answer.columns, answer.types, strict=True), start=1):
        column = SQLExpression(f"#{place}")  # by its place, since two columns may have one name
        columns.append(_finite(column, kind).alias(name))
    return answer.select(*columns)


def _finite(value: "Expression", kind: Any, depth: int = 0) -> "Expression":
    from duckdb import CaseExpression, ConstantExpression, FunctionExpression

    if kind.id in ("float", "double"):
        return CaseExpression(FunctionExpression("isfinite", value), value)
    if not _has_floats(kind):
        return value
    if kind.id in ("list", "array"):
        return _each(value, kind.children[0][1], depth)
    if kind.id == "map":
        keys, values = (FunctionExpression(f"map_{part}", value) for part in ("keys", "values"))
        return FunctionExpression("map", keys, _each(values, kind.children[1][1], depth))
    fields = []
    for name, field in kind.children:
        inner = FunctionExpression("struct_extract", value, ConstantExpression(name))
        fields.append(_finite(inner, field, depth).alias(name))
    return CaseExpression(value.isnotnull(), FunctionExpression("struct_pack", *fields))


def _each(values: "Expression", kind: Any, depth: int) -> "Expression":
    from duckdb import ColumnExpression, FunctionExpression, LambdaExpression

    name = f"value{depth}"
    return FunctionExpression(
        "list_transform", values, LambdaExpression(name, _finite(ColumnExpression(name), kind, depth + 1))
    )


def _has_floats(kind: Any) -> bool:
    """Whether a number that JSON lacks may stand in a value of this type, where `_finite` reaches it."""
    if kind.id == "map":
        return _has_floats(kind.children[1][1])  # its keys are text in JSON
    if kind.id == "array":
        return _has_floats(kind.children[0][1])  # the other says how many there are
    if kind.id in ("list", "struct"):
        return any(_has_floats(field) for _, field in kind.children)
    return kind.id in ("float", "double")
