-- A row is a layer in a step. No lower bound is 0, no upper bound is Infinity.
-- outcome: 'exempt' (not adapted), 'fallback' (a zero or non-finite norm or ratio, so the ratio was set to 1), 'upper' or
-- 'lower' (clipped there), else 'free'. relative_step: how far the layer moved against its own size.
--   SELECT layer, avg(relative_step) FROM trust_ratios WHERE outcome = 'upper' GROUP BY layer;
CREATE VIEW trust_ratios AS
SELECT
    *,
    CASE
        WHEN lower = 1 AND upper = 1 THEN 'exempt'
        WHEN NOT (weight_norm > 0 AND update_norm > 0 AND isfinite(weight_norm) AND isfinite(update_norm)) THEN 'fallback'
        WHEN trust_ratio = 1 AND NOT isfinite(weight_norm / update_norm) THEN 'fallback'
        WHEN trust_ratio > upper THEN 'upper'
        WHEN trust_ratio < lower THEN 'lower'
        ELSE 'free'
    END AS outcome,
    lr::DOUBLE * clipped_ratio * update_norm / nullif(weight_norm, 0) AS relative_step
FROM log.trust_ratios;
