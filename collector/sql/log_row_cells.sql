-- Rows as cells of one step, in the columns of a rollup.
--   FROM log.row_cells('fresh', 'demo');
CREATE MACRO log.row_cells(kind, run) AS TABLE
SELECT
    layer,
    step,
    step AS last_step,
    epoch,
    1::BIGINT AS rows,
    (outcome IN ('free', 'upper', 'lower'))::BIGINT AS adapted,
    (outcome = 'upper')::BIGINT AS upper_hits,
    (outcome = 'lower')::BIGINT AS lower_hits,
    (outcome = 'fallback')::BIGINT AS fallbacks,
    (NOT (isfinite(weight_norm) AND isfinite(update_norm)))::BIGINT AS not_finite,
    CASE WHEN outcome IN ('upper', 'lower') THEN step END AS first_hit,
    CASE WHEN outcome IN ('upper', 'lower') THEN step END AS last_hit,
    CASE WHEN NOT isnan(weight_norm) THEN weight_norm END AS weight_norm_min,
    CASE WHEN NOT isnan(weight_norm) THEN weight_norm END AS weight_norm_max,
    CASE WHEN NOT isnan(update_norm) THEN update_norm END AS update_norm_min,
    CASE WHEN NOT isnan(update_norm) THEN update_norm END AS update_norm_max,
    trust_ratio AS trust_ratio_min,
    trust_ratio AS trust_ratio_max,
    trust_ratio AS trust_ratio_mean,
    CASE WHEN trust_ratio > 0 THEN ln(trust_ratio) ELSE '-inf'::FLOAT END AS trust_ratio_log_mean,
    clipped_ratio AS clipped_ratio_min,
    clipped_ratio AS clipped_ratio_max,
    CASE WHEN clipped_ratio > 0 THEN ln(clipped_ratio) ELSE '-inf'::FLOAT END AS clipped_ratio_log_mean,
    CASE WHEN NOT isnan(relative_step) THEN relative_step END AS relative_step_max,
    lower,
    upper,
    CASE WHEN outcome IN ('free', 'upper', 'lower') THEN [ratio_bin(trust_ratio)] END AS ratio_bins,
    CASE WHEN outcome IN ('free', 'upper', 'lower') THEN [1::INTEGER] END AS ratio_rows,
    CASE WHEN NOT isnan(grad_norm) THEN grad_norm END AS grad_norm_min,
    CASE WHEN NOT isnan(grad_norm) THEN grad_norm END AS grad_norm_max
FROM (
    SELECT
        *,
        outcome(weight_norm, update_norm, trust_ratio, lower, upper) AS outcome,
        relative_step(lr, clipped_ratio, update_norm, weight_norm) AS relative_step
    FROM log.run_rows(kind, run)
);
