-- How many steps a cell stands for, where `columns` cells at most take in the steps from the first to the last.
--   SELECT cell_width(1, 1000, 300);  -- 4
CREATE MACRO cell_width(first_step, last_step, columns) AS
    greatest(1, ceil((last_step - first_step + 1) / columns))::BIGINT;
