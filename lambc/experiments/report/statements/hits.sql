-- A row is a layer under an arm with a bound, at the smallest batch size, that one has finished: in which share of its
-- steps it was clipped at its upper and its lower bound, and at which step first.
SELECT
    arm,
    layer,
    count(*) FILTER (outcome = 'upper') AS upper_hits,
    count(*) FILTER (outcome = 'lower') AS lower_hits,
    upper_hits / nullif(count(*) FILTER (outcome IN ('free', 'upper', 'lower')), 0) AS upper_rate,
    lower_hits / nullif(count(*) FILTER (outcome IN ('free', 'upper', 'lower')), 0) AS lower_rate,
    min(step) FILTER (outcome IN ('upper', 'lower')) AS first_hit
FROM arms
JOIN trust_ratios USING (run)
JOIN layers USING (run, layer)
WHERE status = 'finished' AND bound <> 'no clipping'
    AND batch_size = (SELECT min(batch_size) FROM arms WHERE status = 'finished' AND bound <> 'no clipping')
GROUP BY arm, layer
ORDER BY contains(arm, ','), arm, min("position"), layer
