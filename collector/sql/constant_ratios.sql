-- A row is a layer of a run whose ratio before clipping was the same in all of its steps between two, to a ten-thousandth:
-- as of one that gets no gradient, which weight decay alone moves. Layers of fewer than 10 steps there are left out, and those
-- whose ratio was ever set to 1 there.
--   SELECT layer, ratio, steps FROM constant_ratios('demo', 500, 1000) ORDER BY "position";
CREATE MACRO constant_ratios(run, first_step, last_step) AS TABLE
SELECT ratios.layer, ratios.lowest AS ratio, ratios.steps, layers.position
FROM (
    SELECT
        layer,
        min(cells.trust_ratio_min) AS lowest,
        max(cells.trust_ratio_max) AS highest,
        sum(cells.fallbacks)::BIGINT AS fallbacks,
        sum(cells.rows)::BIGINT AS steps
    FROM log.cells_between(run, first_step, last_step, getvariable('finest_width')) AS cells
    GROUP BY layer
) AS ratios
LEFT JOIN layers ON layers.run = run AND layers.layer = ratios.layer
WHERE ratios.steps >= 10 AND ratios.fallbacks = 0 AND ratios.highest <= 1.0001 * ratios.lowest;
