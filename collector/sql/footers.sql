-- A row is a file that has rows, of those in the parameter: the runs and the steps that its rows have by the statistics of
-- its row groups. `whole` is false where one has none, or only part of a name.
--   SELECT path_in_schema, stats_min_value FROM parquet_metadata('runs/*/metrics/*.parquet');
SELECT
    file_name,
    count(DISTINCT path_in_schema) = 2
    AND bool_and(
        stats_null_count = 0
        AND coalesce(min_is_exact, true)
        AND coalesce(max_is_exact, true)
        AND CASE path_in_schema
            WHEN 'run' THEN stats_min_value IS NOT NULL AND stats_max_value IS NOT NULL
            ELSE try_cast(stats_min_value AS BIGINT) IS NOT NULL AND try_cast(stats_max_value AS BIGINT) IS NOT NULL
        END
    ) AS whole,
    list_distinct(
        flatten(list([stats_min_value, stats_max_value]) FILTER (path_in_schema = 'run'))
    ) AS runs,
    min(try_cast(stats_min_value AS BIGINT)) FILTER (path_in_schema = 'step') AS first_step,
    max(try_cast(stats_max_value AS BIGINT)) FILTER (path_in_schema = 'step') AS last_step
FROM parquet_metadata($files)
WHERE path_in_schema IN ('run', 'step')
GROUP BY file_name;
