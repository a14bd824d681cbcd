-- No row: opens the files in the parameter as a query about a run does that none of them holds, whose pages are not read.
-- Some may be older than some columns.
--   FROM read_parquet('runs/*/metrics/*.parquet', union_by_name = true) WHERE run = 'another';
SELECT * FROM read_parquet($files, union_by_name = true, hive_partitioning = false) WHERE run = '';
