-- In cells of how many steps a run is summed up between two steps: the coarsest there are if that is all of it, else those
-- of which a thousand would do.
--   SELECT log.inner_width('demo', 100, 90_000);
CREATE MACRO log.inner_width(run, first_step, last_step) AS CASE
    WHEN first_step <= 1 AND last_step >= getvariable('steps_by_run')[run] THEN 1::BIGINT << 22
    ELSE cell_width(first_step, last_step, 1000)
END;
