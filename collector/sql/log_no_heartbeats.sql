-- No rows: what log.heartbeats is where no run has a heartbeat, since read_text refuses an empty list.
--   SELECT run, now() - heartbeat FROM log.heartbeats;
CREATE VIEW log.heartbeats AS
SELECT NULL::VARCHAR AS run, NULL::TIMESTAMPTZ AS heartbeat, NULL::BIGINT AS step
WHERE false;
