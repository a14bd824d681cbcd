-- A row is an attempt of a run: the first is the run's start, each further one a resume. first_step is NULL if it took no
-- step; a later attempt that begins at an earlier step replaced its rows.
--   SELECT attempt, first_step FROM attempts WHERE run = 'demo' ORDER BY attempt;
CREATE TABLE attempts AS
SELECT
    run,
    attempt,
    TRY_CAST(noted->>'started' AS TIMESTAMPTZ) AS started,
    TRY_CAST(noted->>'first_step' AS BIGINT) AS first_step
FROM (
    SELECT
        unnest(
            from_json(getvariable('attempts'), '[{"run": "VARCHAR", "attempt": "INTEGER", "noted": "JSON"}]'),
            max_depth := 2
        )
);
