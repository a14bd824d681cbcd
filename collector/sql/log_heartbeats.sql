-- A row is a run that has a heartbeat, read anew by every query: when it was last alive, and its step then.
--   SELECT run, now() - heartbeat FROM log.heartbeats;
CREATE VIEW log.heartbeats AS
SELECT
    run,
    try_cast(try(content ->> 'time') AS TIMESTAMPTZ) AS heartbeat,
    try_cast(try(content ->> 'step') AS BIGINT) AS step
FROM read_text(getvariable('heartbeat_files')) AS files
JOIN (
    SELECT unnest(from_json(getvariable('heartbeat_runs'), '[{"filename": "VARCHAR", "run": "VARCHAR"}]'), max_depth := 2)
) AS runs USING (filename);
