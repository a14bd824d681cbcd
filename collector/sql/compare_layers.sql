-- A row is a layer of either of two runs: how often it was clipped in each, and the geometric mean of its ratio before
-- clipping there. NULL where a run has no such layer.
--   SELECT layer, hit_rate, other_hit_rate FROM compare_layers('demo-clip1', 'demo-clip10') ORDER BY "position";
CREATE MACRO compare_layers(run, other) AS TABLE
SELECT
    coalesce(here.layer, there.layer) AS layer,
    here.hit_rate,
    there.hit_rate AS other_hit_rate,
    here.ratio,
    there.ratio AS other_ratio,
    here.steps,
    there.steps AS other_steps,
    layers.position
FROM log.layer_means(run) AS here
FULL JOIN log.layer_means(other) AS there ON here.layer = there.layer
LEFT JOIN layers ON layers.layer = coalesce(here.layer, there.layer) AND layers.run = run;
