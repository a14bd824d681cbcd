-- How did test accuracy grow?
SELECT run, epoch, avg(value) AS accuracy
FROM metrics
WHERE name = 'test/accuracy' AND run IN ('demo', 'demo-clip1', 'demo-clip10')
GROUP BY run, epoch
ORDER BY run, epoch
