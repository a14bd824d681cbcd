-- A row is a name of a metric: what it is, as trainers call it. split: 'test', 'validation' or 'train'; a loss or an accuracy
-- without one is of training. quantity: 'loss', 'accuracy', 'lr', 'perplexity', or what the name says beside the split.
-- scale: how it is drawn, 'share', 'log' or 'linear'. prefix: what stands before the first slash, or a split that the name
-- begins with. Names that differ in case alone are two metrics of one role.
--   FROM metric_roles(['test/accuracy', 'eval_loss', 'valLoss', 'train_acc_step', 'loss', 'learning_rate', 'train/grad_norm']);
CREATE MACRO metric_roles(names) AS TABLE
WITH known AS (
    SELECT
        MAP {
            'test': 'test', 'testing': 'test',
            'val': 'validation', 'valid': 'validation', 'validation': 'validation', 'dev': 'validation',
            'eval': 'validation', 'evaluation': 'validation',
            'train': 'train', 'training': 'train'
        } AS splits
),
worded AS ( -- apart, since a use of an alias in its own SELECT is bound as a copy of what it stands for
    SELECT
        name,
        regexp_extract_all(lower(regexp_replace(name, '([a-z0-9])([A-Z])', '\1_\2', 'g')), '[\pL\pN]+') AS words
    FROM (SELECT unnest(names::VARCHAR[]) AS name)
),
said AS (
    SELECT
        name,
        words,
        list_filter(
            list_transform(words, lambda word: known.splits[word]), lambda split: split IS NOT NULL
        )[-1] AS split_said,
        -- Lightning says train_loss_step and train_loss_epoch.
        regexp_replace(
            array_to_string(list_filter(words, lambda word: known.splits[word] IS NULL), '_'), '(.)_(epoch|step)$', '\1'
        ) AS rest,
        known.splits[words[1]] IS NOT NULL AND len(words) > 1 AS begins_with_split
    FROM worded, known
),
named AS (
    SELECT
        *,
        CASE
            WHEN regexp_full_match(rest, '((sparse_)?categorical_|binary_)?(accuracy|acc)') THEN 'accuracy'
            WHEN regexp_full_match(rest, '((accuracy|acc)_)?top_?1(_(accuracy|acc))?|(accuracy|acc)_?1') THEN 'accuracy'
            WHEN rest = 'learning_rate' THEN 'lr'
            WHEN rest = 'ppl' THEN 'perplexity'
            ELSE coalesce(nullif(rest, ''), lower(name))
        END AS quantity
    FROM said
)
SELECT
    name,
    coalesce(split_said, CASE WHEN quantity IN ('loss', 'accuracy') THEN 'train' END) AS split,
    quantity,
    CASE
        WHEN regexp_matches(quantity, '(^|_)(loss|perplexity|nll)$') THEN 'log'
        WHEN regexp_matches(quantity, '(^|_)(accuracy|acc|acc_?\d|top_?\d|f1|precision|recall|auc)(_|$)') THEN 'share'
        ELSE 'linear'
    END AS scale,
    CASE
        WHEN contains(name, '/') THEN split_part(name, '/', 1) WHEN begins_with_split THEN words[1] ELSE ''
    END AS prefix
FROM named;
