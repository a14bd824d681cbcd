-- A row is an arm at a batch size: how fast ln ‖w‖ of its convolutions grew a step over the last three quarters of the training,
-- in millionths, mean over layers and seeds, beside ½ · (1 + β1) / (1 - β1) · (relative step)², with β1 = 0.9: what steps of
-- that size that stand at right angles to the weights, as gradients before batch normalisation do, make of it. Without
-- clipping the relative step is lr.
SELECT
    batch_size AS "batch size",
    arm,
    count(DISTINCT run) AS runs,
    TRY_CAST(1e6 * avg(slope) AS DECIMAL(12, 1)) AS "growth a step",
    TRY_CAST(1e6 * stddev_samp(slope) AS DECIMAL(12, 1)) AS "± std over layers and seeds",
    TRY_CAST(1e6 * avg(expected) AS DECIMAL(12, 1)) AS "expected",
    TRY_CAST(avg(slope) / avg(expected) AS DECIMAL(12, 3)) AS "growth over expected"
FROM (
    SELECT
        batch_size,
        arm,
        run,
        layer,
        (ln(arg_max(weight_rms, step)) - ln(arg_min(weight_rms, step))) / (max(step) - min(step)) AS slope,
        0.5 * 1.9 / 0.1 * avg(relative_step * relative_step) AS expected
    FROM layer_steps
    WHERE kind = 'convolution' AND gone >= 1 / 4
    GROUP BY batch_size, arm, run, layer
    HAVING max(step) > min(step) AND min(weight_rms) > 0
)
GROUP BY batch_size, arm
ORDER BY batch_size, contains(arm, ','), arm
