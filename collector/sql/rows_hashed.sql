-- One row: how many rows a file has, and for each column a number that two readers only agree on if they read the same.
--   SELECT count(*), sum(hash(COLUMNS(*))) FROM read_parquet('runs/demo/metrics/*.parquet');
SELECT count(*), sum(hash(COLUMNS(*))) FROM read_parquet($files, hive_partitioning = false);
