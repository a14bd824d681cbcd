lambc reproduce figure2 --scale medium --data parquet:data/cifar10-jpeg --device cpu --no-train --runs docs/results/medium/runs --report docs/results/figure2-medium
