-- The rows of files of one kind, all of which have all columns; with the column `filename` where `named` is true.
--   SELECT max(step) FROM log.read('metrics', log.files_of('metrics', ['demo']), false);
CREATE MACRO log.read(kind, files, named) AS TABLE
FROM read_parquet(files, hive_partitioning = false, filename = named);
