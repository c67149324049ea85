"""Side-by-side measurements that print ratios; run one with ``python -m benchmarks.NAME``."""
