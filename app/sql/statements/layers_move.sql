-- How far do layers move in a step?
SELECT layer, step, relative_step
FROM heatmap('demo-clip1', 1, 1000, 60)
ORDER BY "position", step
