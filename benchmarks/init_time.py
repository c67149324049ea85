"""How long a model of GPT-2 small's shape takes to initialise, compilation included: `python -m benchmarks.init_time`.

Each turn starts a fresh process, so nothing is compiled before. The bar is 3 s on two idle cores; the
second call shows what compilation was.
"""

import argparse
import subprocess
import sys
import time

CODE = """
import time
import jax
import funcnet as fn
from funcnet import nn

normal = nn.init.normal(0.0, 0.02)

class Linear(nn.Module):
    def __init__(self, inputs, outputs):
        self.weight = nn.Parameter((outputs, inputs), normal)
        self.bias = nn.Parameter((outputs,), nn.init.zeros())

class Block(nn.Module):
    def __init__(self, width):
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.project = Linear(width, 3 * width), Linear(width, width)
        self.up, self.down = Linear(width, 4 * width), Linear(4 * width, width)

class GPT2(nn.Module):
    def __init__(self):
        self.tokens = nn.Parameter((50257, 768), normal)
        self.positions = nn.Parameter((1024, 768), normal)
        self.blocks = [Block(768) for _ in range(12)]
        self.norm = nn.LayerNorm(768)

started = time.perf_counter()
net = fn.functionalize(GPT2())
times = []
for seed in range(2):
    key = jax.block_until_ready(jax.random.key(seed))
    began, worked = time.perf_counter(), time.process_time()
    params, _ = jax.block_until_ready(net.init(key))
    times += [time.perf_counter() - began, time.process_time() - worked]
count = sum(leaf.size for leaf in jax.tree.leaves(params))
print(f"{count / 1e6:.0f} M parameters: first {times[0]:.2f} s ({times[1]:.2f} s of CPU), "
      f"again {times[2]:.2f} s ({times[3]:.2f} s of CPU)")
"""


def main() -> None:
    """Print a line a turn."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    for _ in range(parser.parse_args().rounds):
        subprocess.run([sys.executable, "-c", CODE], check=True)
        time.sleep(0.5)


if __name__ == "__main__":
    main()
