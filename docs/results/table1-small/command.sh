lambc reproduce table1 --scale small --data parquet:data/cifar10-jpeg --device cpu --runs docs/results/table1-small/runs --report docs/results/table1-small
