-- A row is a column of a row group: what its statistics say of it, as text.
--   SELECT path_in_schema, stats_min_value FROM parquet_metadata('runs/*/metrics/*.parquet');
SELECT row_group_id, path_in_schema, stats_min_value, stats_max_value, stats_null_count
FROM parquet_metadata($files);
