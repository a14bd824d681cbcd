-- A row is a file of those in the parameter, with its columns as DuckDB takes them, and what they are made of.
--   FROM parquet_schema('runs/*/metrics/*.parquet');
SELECT file_name, list(name ORDER BY column_id), list(duckdb_type ORDER BY column_id)
FROM parquet_schema($files)
WHERE duckdb_type IS NOT NULL
GROUP BY file_name;
