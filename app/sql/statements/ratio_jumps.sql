-- Where did the ratio jump?
SELECT layer, step, trust_ratio / lag(trust_ratio) OVER (PARTITION BY layer ORDER BY step) AS factor, trust_ratio
FROM heatmap('demo', 1, 1000, 500)
WHERE step > 10  -- the first steps always jump
QUALIFY factor > 0
ORDER BY abs(ln(factor)) DESC
LIMIT 50
