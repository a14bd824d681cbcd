-- A row is a layer in a step. No lower bound is 0, no upper bound is Infinity. outcome and relative_step: see there. grad_norm
-- is the norm of the gradient that the step was given; NULL where it was not recorded.
--   SELECT layer, avg(relative_step) FROM trust_ratios WHERE outcome = 'upper' GROUP BY layer ORDER BY layer;
CREATE VIEW trust_ratios AS
SELECT
    * EXCLUDE (grad_norm),
    outcome(weight_norm, update_norm, trust_ratio, lower, upper) AS outcome,
    relative_step(lr, clipped_ratio, update_norm, weight_norm) AS relative_step,
    grad_norm
FROM log.trust_ratios;
