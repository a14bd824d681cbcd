-- A row is a layer of a run: in how many steps it was clipped at its upper and its lower bound, and what
-- share of the steps that is (hit_rate.sql).
--   SELECT layer, hit_rate FROM clip_hits WHERE run = 'demo' ORDER BY hit_rate DESC LIMIT 10;
CREATE VIEW clip_hits AS
SELECT
    run,
    layer,
    count(*) AS steps,
    count(*) FILTER (outcome = 'upper') AS upper_hits,
    count(*) FILTER (outcome = 'lower') AS lower_hits,
    hit_rate(outcome) AS hit_rate
FROM trust_ratios
GROUP BY run, layer;
