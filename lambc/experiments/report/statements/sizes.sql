-- A row is a kind of layer under an arm at a batch size: geometric means over layers and recorded steps of the trust ratio
-- before clipping, of the update's root mean square, and of the relative step, in the first sixteenth of the training, the one
-- around its half, and the last. Of arms without further settings, and of those whose learning rate falls.
SELECT
    batch_size AS "batch size",
    arm,
    kind,
    round(exp(avg(ln(CAST(trust_ratio AS DOUBLE))) FILTER (gone <= 1 / 16)), 3) AS "ratio, first 1/16",
    round(exp(avg(ln(CAST(trust_ratio AS DOUBLE))) FILTER (gone > 7 / 16 AND gone <= 9 / 16)), 3) AS "ratio, half-way",
    round(exp(avg(ln(CAST(trust_ratio AS DOUBLE))) FILTER (gone > 15 / 16)), 3) AS "ratio, last 1/16",
    round(exp(avg(ln(CAST(update_rms AS DOUBLE))) FILTER (gone <= 1 / 16)), 3) AS "update rms, first 1/16",
    round(exp(avg(ln(CAST(update_rms AS DOUBLE))) FILTER (gone > 7 / 16 AND gone <= 9 / 16)), 3) AS "update rms, half-way",
    round(exp(avg(ln(CAST(update_rms AS DOUBLE))) FILTER (gone > 15 / 16)), 3) AS "update rms, last 1/16",
    round(100 * exp(avg(ln(CAST(relative_step AS DOUBLE))) FILTER (gone <= 1 / 16)), 3) AS "relative step %, first 1/16",
    round(100 * exp(avg(ln(CAST(relative_step AS DOUBLE))) FILTER (gone > 7 / 16 AND gone <= 9 / 16)), 3) AS "relative step %, half-way",
    round(100 * exp(avg(ln(CAST(relative_step AS DOUBLE))) FILTER (gone > 15 / 16)), 3) AS "relative step %, last 1/16"
FROM layer_steps
WHERE weight_rms > 0 AND update_rms > 0 AND relative_step > 0 AND setting IN ('', 'lr to 0')
GROUP BY batch_size, arm, kind
ORDER BY batch_size, contains(arm, ','), arm, kind
