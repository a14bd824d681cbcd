-- A row is a layer of a run that was clipped in all of its steps between two ('always') or in none ('never').
--   SELECT layer, clipped, steps FROM clipped_throughout('demo-clip1', 1, 1000) ORDER BY "position";
CREATE MACRO clipped_throughout(run, first_step, last_step) AS TABLE
SELECT layer, "position", adapted AS steps, CASE WHEN upper_hits + lower_hits = 0 THEN 'never' ELSE 'always' END AS clipped
FROM hit_rate_by_layer(run, first_step, last_step)
WHERE adapted > 0 AND upper_hits + lower_hits IN (0, adapted);
