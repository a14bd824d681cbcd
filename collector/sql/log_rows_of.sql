-- log.rows of some runs, of which alone files are opened, or of all where `runs` is NULL. A column that a file lacks, since it
-- is older, is NULL there; to be told the columns costs nothing, where union_by_name would read every footer.
--   SELECT max(step) FROM log.rows_of('metrics', ['demo']);
CREATE MACRO log.rows_of(kind, runs) AS TABLE
FROM read_parquet(
    log.files_of(kind, runs), schema = getvariable(kind || '_columns'), hive_partitioning = false
);
