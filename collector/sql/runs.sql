-- A row is a run. Its status is what run.json says, or 'stalled' if that is 'running' without a heartbeat for a minute;
-- NULL if run.json cannot be read. steps is the last step in the log; last_step the last that the run took, as far as its
-- heartbeat says, of which a run that records every nth step has no row. version changes when a file of the run does, but
-- for its heartbeat.
--   SELECT run, status, steps, config->>'clip' AS clip FROM runs ORDER BY run;
CREATE VIEW runs AS
SELECT
    run,
    CASE
        WHEN status = 'running' AND coalesce(heartbeat < now() - getvariable('silent'), true) THEN 'stalled'
        ELSE status
    END AS status,
    started,
    finished,
    coalesce(heartbeat, last_word) AS heartbeat,
    steps,
    config,
    failure,
    version,
    greatest(steps, runs.last_step, heartbeats.step) AS last_step
FROM log.runs AS runs
LEFT JOIN log.heartbeats AS heartbeats USING (run);
