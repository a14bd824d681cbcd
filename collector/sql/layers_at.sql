-- A row is a layer of a run at one step, with its family and block, its outcome, and its norms at the step that was recorded
-- before, step_before; NULL where none was, within a stride of the run.
--   SELECT layer, weight_norm, update_norm, update_norm_before, trust_ratio FROM layers_at('demo', 417) ORDER BY "position";
CREATE MACRO layers_at(run, step) AS TABLE
SELECT
    now.layer, layers.position, coalesce(layers.family, now.layer) AS family, layers.block,
    now.weight_norm, now.update_norm, now.grad_norm, now.trust_ratio, now.clipped_ratio, now.lower, now.upper,
    outcome(now.weight_norm, now.update_norm, now.trust_ratio, now.lower, now.upper) AS outcome,
    relative_step(now.lr, now.clipped_ratio, now.update_norm, now.weight_norm) AS relative_step,
    before.weight_norm AS weight_norm_before, before.update_norm AS update_norm_before, before.step AS step_before
FROM (FROM log.run_rows('trust_ratios', run) AS rows WHERE rows.step = step) AS now
LEFT JOIN (
    -- Not just the one a stride before: a run that records every 100th step has step 1, and not 0, before step 100.
    FROM log.run_rows('trust_ratios', run) AS rows
    WHERE rows.step >= step - run_stride(run, step, step) AND rows.step < step
    QUALIFY rows.step = max(rows.step) OVER (PARTITION BY rows.layer)
) AS before ON before.layer = now.layer
LEFT JOIN layers ON layers.run = run AND layers.layer = now.layer;
