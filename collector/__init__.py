"""Records the trust ratios of an optimizer to Parquet, and reads them back through DuckDB."""
