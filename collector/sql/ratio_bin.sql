-- The bin of a histogram of ratios that a ratio lies in: bin b begins above 2^((b - 1) / 32) and ends with 2^(b / 32). A
-- ratio below 2^-32 counts as that, Infinity and NaN as 2^128.
--   SELECT ratio_bin(1.0), ratio_bin(1.01), ratio_bin(2.0);  -- 0, 1, 32
CREATE MACRO ratio_bin(ratio) AS
    ceil(getvariable('bins_an_octave') * log2(least(greatest(ratio::DOUBLE, pow(2, -32)), pow(2, 128))))::SMALLINT;
