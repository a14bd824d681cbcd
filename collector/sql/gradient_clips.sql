-- One row: how often the gradients of a run were cut at their global norm, as Collector.clip_grad_norm_ logs it in the metrics
-- grad_norm and grad_clip: in how many of how many steps, and what share that is; not_finite: in how many the norm was NaN or
-- infinite. Without such metrics steps is 0, and share NULL.
--   SELECT steps, clipped, share FROM gradient_clips('demo-clip10');
CREATE MACRO gradient_clips(run) AS TABLE
SELECT
    count(DISTINCT step) FILTER (name = 'grad_clip') AS steps,
    count(DISTINCT step) FILTER (name = 'grad_clip' AND value < 1) AS clipped,
    clipped / nullif(steps, 0) AS share,
    count(DISTINCT step) FILTER (name = 'grad_norm' AND NOT isfinite(value)) AS not_finite
FROM log.run_rows('metrics', run) AS rows
WHERE name IN ('grad_norm', 'grad_clip');
