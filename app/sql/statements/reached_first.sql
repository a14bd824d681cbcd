-- Which run reached 90 % first?
SELECT run, min(step) FILTER (value >= 0.9) AS reached_at_step, max(value) AS best
FROM metrics
WHERE name = 'test/accuracy'
GROUP BY run
ORDER BY reached_at_step NULLS LAST, best DESC
