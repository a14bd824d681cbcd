-- In cells of how many steps, at least `finest`, a run is summed up between two steps: the coarsest there are if that is
-- all of it, else those of which some hundreds do.
--   SELECT log.inner_width('demo', 100, 90_000, 64);  -- 1024
CREATE MACRO log.inner_width(run, first_step, last_step, finest) AS CASE
    WHEN first_step <= 1 AND last_step >= getvariable('steps_by_run')[run] THEN getvariable('coarsest_width')
    WHEN last_step - first_step < 65536 THEN finest
    WHEN last_step - first_step < 1048576 THEN greatest(1024, finest)
    ELSE 16384
END;
