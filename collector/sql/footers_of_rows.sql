-- A row is a file of those in the parameter: what `footers` says, from the rows themselves. A null is in no list.
--   SELECT list(DISTINCT run), min(step), max(step) FROM read_parquet('runs/demo/metrics/*.parquet');
SELECT
    filename,
    count(run) = count(*) AND count(step) = count(*) AS whole,
    list(DISTINCT run) AS runs,
    min(step) AS first_step,
    max(step) AS last_step
FROM read_parquet($files, filename = true, hive_partitioning = false)
GROUP BY filename;
