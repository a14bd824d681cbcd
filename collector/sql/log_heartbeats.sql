-- A row is a run that has a heartbeat, read anew by every query: when it was last alive, and its step then.
--   SELECT run, now() - heartbeat FROM log.heartbeats;
CREATE VIEW log.heartbeats AS
SELECT
    run,
    (content ->> 'time')::TIMESTAMPTZ AS heartbeat,
    (content ->> 'step')::BIGINT AS step
FROM read_text(getvariable('heartbeat_files'))
JOIN log.heartbeat_files USING (filename);
