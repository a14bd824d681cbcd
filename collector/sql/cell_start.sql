-- The first step of the cell that a step lies in.
--   SELECT cell_start(1000, 64);  -- 960
CREATE MACRO cell_start(step, width) AS step // width * width;
