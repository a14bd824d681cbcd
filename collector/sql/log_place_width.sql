-- How many steps of a layer are looked at as one place where events are sought: the cells of a rollup, of which at most
-- 1024 take in the steps between two.
--   SELECT log.place_width('demo', 1, 1000);  -- 64
CREATE MACRO log.place_width(run, first_step, last_step) AS greatest(
    getvariable('finest_width'), cell_width(first_step, least(last_step, getvariable('steps_by_run')[run]), 1024)
);
