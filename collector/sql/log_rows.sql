-- The rows of the files of one kind: 'trust_ratios', 'metrics', 'rollups', or 'fresh' (trust ratios without a rollup).
--   SELECT max(step) FROM log.rows('metrics');
CREATE MACRO log.rows(kind) AS TABLE
FROM log.rows_of(kind, NULL);
