-- The first step that is in no cell of `width` that ends before or at `last_step`; behind a run's end there is nothing to
-- leave out.
--   SELECT log.inner_end('demo', 1000, 64);
CREATE MACRO log.inner_end(run, last_step, width) AS CASE
    WHEN last_step >= getvariable('steps_by_run')[run] THEN 1::BIGINT << 62
    ELSE (last_step + 1) // width * width
END;
