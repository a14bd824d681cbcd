-- A row is a layer of a run: in how many steps it was clipped at its upper and its lower bound. hit_rate is hits over
-- free and hits: a ratio that was never adapted, or fell back to 1, counts as neither. It is NULL where there are none.
--   SELECT layer, hit_rate FROM clip_hits WHERE run = 'demo' ORDER BY hit_rate DESC LIMIT 10;
CREATE VIEW clip_hits AS
SELECT
    run,
    layer,
    count(*) AS steps,
    count(*) FILTER (outcome = 'upper') AS upper_hits,
    count(*) FILTER (outcome = 'lower') AS lower_hits,
    (upper_hits + lower_hits) / nullif(count(*) FILTER (outcome IN ('free', 'upper', 'lower')), 0) AS hit_rate
FROM trust_ratios
GROUP BY run, layer;
