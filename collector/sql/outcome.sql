-- What became of a layer's ratio in a step: 'exempt' (not adapted), 'fallback' (a zero or non-finite norm or ratio, so the
-- ratio was set to 1), 'upper' or 'lower' (clipped there), else 'free'.
--   SELECT outcome(2.0, 0.5, 4.0, 0.0, 1.0);  -- upper
CREATE MACRO outcome(weight_norm, update_norm, trust_ratio, lower, upper) AS CASE
    WHEN lower = 1 AND upper = 1 THEN 'exempt'
    WHEN NOT (weight_norm > 0 AND update_norm > 0 AND isfinite(weight_norm) AND isfinite(update_norm)) THEN 'fallback'
    WHEN isnan(trust_ratio) THEN 'fallback'
    WHEN trust_ratio = 1 AND NOT isfinite(weight_norm / update_norm) THEN 'fallback'
    WHEN trust_ratio > upper THEN 'upper'
    WHEN trust_ratio < lower THEN 'lower'
    ELSE 'free'
END;
