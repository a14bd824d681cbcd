-- A row is a layer that an arm's bound clips, of the arms that clip at 1, at the smallest batch size that one
-- has finished: the ten that are clipped most often.
SELECT
    arm,
    layer,
    any_value(shape) AS shape,
    TRY_CAST(100 * sum(upper_hits + lower_hits) / nullif(sum(adapted), 0) AS DECIMAL(12, 2)) AS "clipped %"
FROM arms
JOIN clip_hits USING (run)
JOIN layers USING (run, layer)
WHERE status = 'finished' AND bound = 'clip 1'
    AND batch_size = (SELECT min(batch_size) FROM arms WHERE status = 'finished' AND bound = 'clip 1')
GROUP BY arm, layer
HAVING sum(upper_hits + lower_hits) > 0
QUALIFY row_number() OVER (PARTITION BY arm ORDER BY "clipped %" DESC NULLS LAST, min("position")) <= 10
ORDER BY contains(arm, ','), arm, "clipped %" DESC NULLS LAST, min("position")
