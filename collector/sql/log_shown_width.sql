-- How wide cells of a run are that show some steps of it: as cell_width, but no narrower than the run's stride there, so
-- that none lies empty between two recorded steps.
--   SELECT log.shown_width('demo', 1, 1000, 300, 1);  -- 4
CREATE MACRO log.shown_width(run, first_step, last_step, columns, least_width) AS cell_width(
    first_step, last_step, columns, least_width := greatest(run_stride(run, first_step, last_step), least_width)
);
