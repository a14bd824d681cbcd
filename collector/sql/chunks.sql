-- A row is a file, of those in the parameter, that says of a column that it begins before the file does: DuckDB refuses
-- it in the middle of a query, also of one about other files.
--   SELECT path_in_schema, data_page_offset FROM parquet_metadata('runs/*/metrics/*.parquet');
SELECT DISTINCT file_name
FROM parquet_metadata($files)
WHERE least(data_page_offset, dictionary_page_offset, index_page_offset) < 0;
