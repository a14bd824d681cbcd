-- How many steps a cell stands for, a power of two, where at most `columns` cells take in the steps from the first to the
-- last. A cell begins at a multiple of its width.
--   SELECT cell_width(1, 1000, 300);  -- 4
CREATE MACRO cell_width(first_step, last_step, columns) AS
    (1::BIGINT << coalesce(
        list_min(list_filter(range(62), lambda n: (last_step >> n) - (first_step >> n) < greatest(columns, 1))), 61
    )::BIGINT);
