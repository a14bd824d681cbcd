"""What the dashboard keeps is bounded, however many visitors it has and however long it is served."""

import ast
from collections.abc import Iterator
from pathlib import Path

import app

CACHES = ("cache_data", "cache_resource", "lru_cache", "cache")


def caches() -> Iterator[tuple[str, ast.FunctionDef, ast.expr]]:
    """Every function of the dashboard whose answers are kept, with what keeps them."""
    for file in Path(app.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            for decorator in node.decorator_list if isinstance(node, ast.FunctionDef) else ():
                called = decorator.func if isinstance(decorator, ast.Call) else decorator
                if ast.unparse(called).rpartition(".")[2] in CACHES:
                    yield f"{file.name}: {node.name}", node, decorator


def test_every_cache_of_more_than_one_answer_has_a_most():
    found = list(caches())
    assert len(found) > 5
    for name, function, decorator in found:
        bounded = isinstance(decorator, ast.Call) and (
            any(each.arg in ("max_entries", "maxsize") for each in decorator.keywords) or decorator.args
        )
        assert bounded or not function.args.args, f"{name} keeps an answer for each argument that there ever was"
