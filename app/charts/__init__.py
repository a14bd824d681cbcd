"""Charts: tables to Plotly figures, without Streamlit."""
