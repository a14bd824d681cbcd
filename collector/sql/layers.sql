-- A row is a layer of a run: one parameter tensor, with its place in depth order from 0. family is its name with the numbers
-- of its blocks taken out, which the layers of one role share, and block the first of these numbers; NULL where there is none.
--   SELECT layer, shape, family, block FROM layers WHERE run = 'demo' ORDER BY position;
CREATE TABLE layers AS
SELECT
    unnest(
        from_json(
            getvariable('layers'),
            '[{"run": "VARCHAR", "layer": "VARCHAR", "position": "INTEGER", "shape": ["BIGINT"],
               "parameters": "BIGINT", "group": "INTEGER", "family": "VARCHAR", "block": "INTEGER"}]'
        ),
        max_depth := 2
    );
