-- Was a norm ever not finite?
SELECT layer, step, weight_norm, update_norm
FROM not_finite('demo', 1, 1000)
ORDER BY step, layer
LIMIT 100
