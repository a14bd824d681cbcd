-- The files of one kind of some runs, or of all where `runs` is NULL; one without rows where there are none.
--   SELECT log.files_of('metrics', ['demo']);
CREATE MACRO log.files_of(kind, runs) AS CASE
    WHEN runs IS NULL THEN getvariable(kind || '_files')
    ELSE coalesce(
        nullif(
            flatten(list_transform(runs::VARCHAR[], lambda run: coalesce(getvariable(kind || '_by_run')[run], []))), []
        ),
        [getvariable(kind || '_none')]
    )
END;
