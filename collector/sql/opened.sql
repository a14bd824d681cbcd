-- No row: opens the files in the parameter as a query about a run does that none of them holds, whose pages are not read.
--   FROM read_parquet('runs/*/metrics/*.parquet') WHERE run = 'another';
SELECT * FROM read_parquet($files, hive_partitioning = false) WHERE run = '';
