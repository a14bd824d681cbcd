-- How far a layer moved in a step against its own size; NULL where it had none.
--   SELECT relative_step(0.01, 1.0, 0.5, 2.0);  -- 0.0025
CREATE MACRO relative_step(lr, clipped_ratio, update_norm, weight_norm) AS
    lr::DOUBLE * clipped_ratio * update_norm / nullif(weight_norm, 0);
