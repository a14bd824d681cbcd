-- How many steps a cell stands for: the smallest power of two of which at most `columns` cells take in the steps from the
-- first to the last. A cell begins at a multiple of its width.
--   SELECT cell_width(1, 1000, 300);  -- 4
CREATE MACRO cell_width(first_step, last_step, columns) AS 1::BIGINT << list_min(
    list_filter(range(63), lambda n: (last_step::BIGINT >> n) - (first_step::BIGINT >> n) < greatest(columns, 1))
);
