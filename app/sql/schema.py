"""What can be asked: the log's views and macros, as the store has them and as their own comments explain them."""

import streamlit as st

from app import queries
from app.sql.editor import ask_example
from app.sql.examples import Names
from collector.store.documentation import describe


def draw(names: Names, *, height: int) -> None:
    """Views with their columns, macros with their parameters; each opens to what it is and an example."""
    columns, macros = queries.columns(), queries.macros()
    with st.container(height=height, border=True):
        views, of_runs, of_values = st.tabs(["Views", "Macros", "Functions"])
    with views.container(gap="xxsmall"):
        for name, of_view in columns.groupby("table_name", sort=True):
            widest = of_view["column_name"].str.len().max()
            listed = of_view["column_name"].str.ljust(widest) + "  " + of_view["data_type"].map(_short)
            _entry(str(name), "\n".join(listed), names)
    for tab, kind in ((of_runs, "table_macro"), (of_values, "macro")):
        with tab.container(gap="xxsmall"):
            for _, macro in macros[macros["function_type"] == kind].iterrows():
                name = macro["function_name"]
                _entry(name, f"{name}({', '.join(macro['parameters'])})", names)


def _entry(name: str, signature: str, names: Names) -> None:
    with st.expander(name, key=f"sql-about-{name}", type="compact", on_change="rerun") as entry:
        if entry.open:
            about = describe(name)
            example = names.fill_in(about.example)
            st.caption(about.text)
            st.code(signature, language=None, wrap_lines=True)
            st.code(example, language="sql", wrap_lines=True)
            st.button(
                "Run the example",
                key=f"sql-example-{name}",
                icon=":material/play_arrow:",
                on_click=ask_example,
                args=(example,),
            )


def _short(data_type: str) -> str:
    return data_type.replace("TIMESTAMP WITH TIME ZONE", "TIMESTAMPTZ")
