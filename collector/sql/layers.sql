-- A row is a layer of a run: one parameter tensor, with its place in depth order from 0.
--   SELECT layer, shape FROM layers WHERE run = 'demo' ORDER BY position;
CREATE TABLE layers AS
SELECT
    unnest(
        from_json(
            getvariable('layers'),
            '[{"run": "VARCHAR", "layer": "VARCHAR", "position": "INTEGER", "shape": ["BIGINT"],
               "parameters": "BIGINT", "group": "INTEGER"}]'
        ),
        max_depth := 2
    );
