-- The first step from which on cells of `width` lie behind `first_step`; before step 1 there is nothing to leave out.
--   SELECT log.inner_start(100, 64);  -- 128
CREATE MACRO log.inner_start(first_step, width) AS
    CASE WHEN first_step <= 1 THEN 0 ELSE (first_step + width - 1) // width * width END;
