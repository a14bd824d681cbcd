-- The share of rows that were clipped, of those that could be: hits over free and hits. A ratio that is 1 for another
-- reason (fallback, exempt) counts as neither. NULL where there are none.
--   SELECT run, hit_rate(outcome) FROM trust_ratios GROUP BY run ORDER BY run;
CREATE MACRO hit_rate(outcome) AS
    count(*) FILTER (outcome IN ('upper', 'lower')) / nullif(count(*) FILTER (outcome IN ('free', 'upper', 'lower')), 0);
