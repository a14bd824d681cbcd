"""The dashboard: Streamlit pages over the views of the collector's store."""
