-- A row is a file that was left out, or a folder whose rows were, and why, with what to do.
SELECT array_to_string(parse_path(file)[-3:], '/') AS file, problem
FROM problems
ORDER BY ALL
