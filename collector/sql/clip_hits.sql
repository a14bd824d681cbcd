-- A row is a layer of a run: in how many steps it was clipped at its upper and its lower bound, how many could have been
-- (outcome free, upper or lower), and what share of them was (hit_rate.sql). not_finite: in how many a norm was NaN or
-- infinite.
--   SELECT layer, hit_rate FROM clip_hits WHERE run = 'demo-clip1' ORDER BY hit_rate DESC LIMIT 10;
CREATE VIEW clip_hits AS
SELECT
    run,
    layer,
    sum(rows)::BIGINT AS steps,
    sum(adapted)::BIGINT AS adapted,
    sum(upper_hits)::BIGINT AS upper_hits,
    sum(lower_hits)::BIGINT AS lower_hits,
    hit_share(upper_hits, lower_hits, adapted) AS hit_rate,
    sum(not_finite)::BIGINT AS not_finite
FROM (
    SELECT run, layer, rows, adapted, upper_hits, lower_hits, not_finite
    FROM log.rows('rollups')
    WHERE last_level = getvariable('any_level')
    UNION ALL
    SELECT
        run,
        layer,
        1,
        (outcome IN ('free', 'upper', 'lower'))::BIGINT,
        (outcome = 'upper')::BIGINT,
        (outcome = 'lower')::BIGINT,
        (NOT (isfinite(weight_norm) AND isfinite(update_norm)))::BIGINT
    FROM (SELECT *, outcome(weight_norm, update_norm, trust_ratio, lower, upper) AS outcome FROM log.rows('fresh'))
)
GROUP BY run, layer;
