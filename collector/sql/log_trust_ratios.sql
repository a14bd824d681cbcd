-- A row is a layer in a step, as stored. The files are those whose footers were found good.
--   SELECT max(step) FROM log.trust_ratios;
CREATE VIEW log.trust_ratios AS
FROM log.rows('trust_ratios');
