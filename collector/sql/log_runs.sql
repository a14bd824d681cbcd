-- A row is a run as its files say, but for its heartbeat.
--   FROM log.runs;
CREATE TABLE log.runs AS
SELECT
    unnest(
        from_json(
            getvariable('runs'),
            '[{"run": "VARCHAR", "status": "VARCHAR", "started": "TIMESTAMPTZ", "finished": "TIMESTAMPTZ",
               "last_word": "TIMESTAMPTZ", "steps": "BIGINT", "last_step": "BIGINT", "config": "JSON",
               "failure": "VARCHAR", "version": "VARCHAR"}]'
        ),
        max_depth := 2
    );
