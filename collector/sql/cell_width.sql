-- How many steps a cell stands for: the smallest power of two, or `least_width` itself, of which at most `columns` cells take
-- in the steps from the first to the last. A cell begins at a multiple of its width. None is narrower than `least_width`.
--   SELECT cell_width(1, 1000, 300) AS width, cell_width(1, 1000, 300, least_width := 100) AS at_least_100;
CREATE MACRO cell_width(first_step, last_step, columns, least_width := 1) AS list_min(
    list_filter(
        list_append(list_transform(range(63), lambda n: 1::BIGINT << n), least_width::BIGINT),
        lambda width: width >= least_width
            AND last_step::BIGINT // width - first_step::BIGINT // width < greatest(columns, 1)
    )
);
