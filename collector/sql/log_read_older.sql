-- log.read where some files are older than some columns, which are NULL there. To be told the columns costs nothing, where
-- union_by_name would read every footer; but DuckDB then takes the files for one row, and may build a join from all of them.
--   SELECT max(step) FROM log.read('metrics', log.files_of('metrics', ['demo']), false);
CREATE MACRO log.read(kind, files, named) AS TABLE
FROM read_parquet(files, schema = getvariable(kind || '_columns'), hive_partitioning = false, filename = named);
