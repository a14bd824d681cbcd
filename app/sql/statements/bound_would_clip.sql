-- What would a bound clip?
SELECT bound, sum(above) / sum(steps) AS clipped
FROM ratio_survival('demo', 1, 1000)
GROUP BY bound
ORDER BY bound
