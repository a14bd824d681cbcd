-- Which layers are clipped most?
SELECT layer, upper_rate, lower_rate, first_hit, last_hit
FROM hit_rate_by_layer('demo-clip1', 1, 1000)
ORDER BY upper_rate + lower_rate DESC NULLS LAST
LIMIT 30
