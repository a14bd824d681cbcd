-- How many steps a cell stands for, a power of two, where at most `columns` cells take in the steps from the first to the
-- last. A cell begins at a multiple of its width.
--   SELECT cell_width(1, 1000, 300);  -- 4
CREATE MACRO cell_width(first_step, last_step, columns) AS 1::BIGINT << (CASE
    WHEN columns <= 1 THEN floor(log2(greatest(xor(first_step::BIGINT, last_step::BIGINT), 0.5))) + 1
    ELSE enough_bits(first_step, last_step, columns) + (
        (last_step >> enough_bits(first_step, last_step, columns))
        - (first_step >> enough_bits(first_step, last_step, columns)) >= columns
    )::INTEGER
END)::BIGINT;
