-- A row is a file that was left out, or a folder whose rows were, and why, with what to do.
--   SELECT file, problem FROM problems;
CREATE VIEW problems AS
SELECT run, file, problem
FROM log.problems;
