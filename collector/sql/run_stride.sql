-- How many steps lie from one recorded step of a run to the next: `every` of its collector. Where a resume changed it, the
-- largest of those between two steps, which are all if none are given.
--   SELECT run_stride('demo') AS stride, run_stride('demo', 1, 100) AS stride_there;
CREATE MACRO run_stride(run, first_step := 0, last_step := 1::BIGINT << 62) AS coalesce(
    -- Fields in brackets: in an argument of a table macro DuckDB takes a name with a dot for text.
    list_max(
        list_transform(
            list_filter(
                getvariable('strides_by_run')[run],
                lambda stretch: stretch['first_step'] <= last_step AND stretch['last_step'] >= first_step
            ),
            lambda stretch: stretch['stride']
        )
    ),
    1::BIGINT
);
