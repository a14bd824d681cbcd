-- The power of two that divides so many steps into at most `columns` cells, if the first step begins one.
--   SELECT enough_bits(1, 1000, 300);  -- 2
CREATE MACRO enough_bits(first_step, last_step, columns) AS
    greatest(ceil(log2(greatest(last_step - first_step + 1, 1) / columns)), 0)::BIGINT;
