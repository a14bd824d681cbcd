-- hit_rate of cells or layers whose hits are counted already: the share of clipped steps among those that could be.
--   SELECT run, hit_share(upper_hits, lower_hits, adapted) AS hit_rate FROM clip_hits GROUP BY run ORDER BY run;
CREATE MACRO hit_share(upper_hits, lower_hits, adapted) AS
    (sum(upper_hits) + sum(lower_hits)) / nullif(sum(adapted), 0);
