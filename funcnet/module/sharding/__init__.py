"""Where a model's arrays lie on a mesh of devices: what `parallel.shard` worked out, and how a model keeps to it."""
