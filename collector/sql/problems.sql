-- A row is a file that was left out, or a folder whose rows were, and why, with what to do.
--   SELECT file, problem FROM problems;
CREATE VIEW problems AS
SELECT
    unnest(
        from_json(getvariable('problems'), '[{"run": "VARCHAR", "file": "VARCHAR", "problem": "VARCHAR"}]'),
        max_depth := 2
    );
