-- A row is a layer at a recorded step of a run that finished: its kind, how much of the training had gone, and what was
-- recorded.
SELECT
    run,
    seed,
    batch_size,
    arm,
    bound,
    setting,
    layer,
    CASE
        WHEN len(shape) = 4 THEN 'convolution'
        WHEN len(shape) > 1 THEN 'matrix'
        WHEN ends_with(layer, 'weight') THEN '1-D weight (normalisation)'
        ELSE '1-D bias'
    END AS kind,
    step,
    step / steps AS gone,
    weight_norm / sqrt(parameters) AS weight_rms,
    update_norm / sqrt(parameters) AS update_rms,
    trust_ratio,
    relative_step,
    lr,
    outcome
FROM arms
JOIN trust_ratios USING (run)
JOIN layers USING (run, layer)
WHERE status = 'finished'
