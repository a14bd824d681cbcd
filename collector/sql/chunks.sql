-- A row is a file, of those in the parameter, that has a column of a negative place or size: in the middle of a query,
-- also one about other files, DuckDB refuses it or has an internal error, which ends its database.
--   SELECT path_in_schema, data_page_offset FROM parquet_metadata('runs/*/metrics/*.parquet');
SELECT DISTINCT file_name
FROM parquet_metadata($files)
WHERE least(
    data_page_offset,
    dictionary_page_offset,
    index_page_offset,
    total_compressed_size,
    total_uncompressed_size,
    num_values
) < 0;
