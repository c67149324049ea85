"""What each way to spread a model costs, on paper: bytes sent and held by one device in one step of training.

    python -m benchmarks.parallel_costs          # the tables of docs/guides/parallel.md

The formulas count exchanges that go round a ring, the cheapest way for large arrays: an all-reduce among n devices
sends 2 (n - 1) / n of the array, an all-gather or a reduce-scatter (n - 1) / n. `tests/parallel/test_costs.py` holds
them against the plans of compiled steps.

References: Rajbhandari et al., ZeRO, 2019, https://arxiv.org/abs/1910.02054; Shoeybi et al., Megatron-LM, 2019,
https://arxiv.org/abs/1909.08053; Korthikanti et al., Reducing Activation Recomputation, 2022,
https://arxiv.org/abs/2205.05198.
"""

from collections.abc import Iterator
from dataclasses import dataclass

__all__ = ["Spread", "Transformer", "held", "sent", "tables"]


@dataclass(frozen=True)
class Transformer:
    """The sizes that costs depend on.

    Attributes:
        name: of the model.
        blocks: how many there are.
        width: features between blocks.
        of_block: parameters of one block.
        of_rest: parameters outside of the blocks.
        tokens: that one device computes in a step.
    """

    name: str
    blocks: int
    width: int
    of_block: int
    of_rest: int
    tokens: int

    @property
    def parameters(self) -> int:
        """All of them."""
        return self.blocks * self.of_block + self.of_rest


@dataclass(frozen=True)
class Spread:
    """How a step is spread: the sizes of the mesh's axes, and what is spread along ``data``.

    Attributes:
        data: devices, or groups of devices, with different samples.
        model: devices that share every matrix product.
        pipeline: devices that have different blocks.
        experts: devices that have different experts.
        zero: what is spread over ``data``: nothing, the ``"optimizer"`` state, or ``"parameters"`` too (FSDP).
        sequence: whether values between products are spread along time over ``model``.
    """

    data: int = 1
    model: int = 1
    pipeline: int = 1
    experts: int = 1
    zero: str = ""
    sequence: bool = False

    @property
    def devices(self) -> int:
        """How many devices work."""
        return self.data * self.model * self.pipeline


def around(devices: int) -> float:
    """Tell which part of an array a device sends, once round a ring: ``(n - 1) / n``."""
    return (devices - 1) / devices


def sent(
    model: Transformer,
    spread: Spread,
    *,
    number: int = 4,
    reduce_scatter: bool = True,
    sums: int = 4,
) -> dict[str, float]:
    """Count the bytes that one device sends in a step, by axis of the mesh.

    Args:
        model: the sizes.
        spread: the mesh.
        number: bytes of a number that is sent: 4 in float32.
        reduce_scatter: whether gradients are reduced in parts, as XLA does on GPUs; on CPUs it reduces all and
            drops what the device does not need, which sends twice as much.
        sums: all-reduces of a block along ``model``: two forward and two backward by Megatron's count. One more for
            what is computed again, and one for each projection of the same values if the compiler joins none.
    """
    held_here = model.parameters / (spread.model * spread.pipeline) * number
    tokens = model.tokens * spread.model * spread.pipeline  # of the devices that share a batch
    between = tokens * model.width * number  # what one block gives the next
    blocks = model.blocks / spread.pipeline
    reduced = 1 if reduce_scatter and spread.zero else 2
    gathered = {"": 0, "optimizer": 1, "parameters": 2}[spread.zero]  # FSDP: forward and backward
    return {
        "data": (reduced + gathered) * around(spread.data) * held_here,
        # sequence parallelism cuts each in two halves, of the same bytes
        "model": blocks * sums * 2 * around(spread.model) * between,
        # forward to the next stage, gradients to the one before
        "pipeline": 2 * between if spread.pipeline > 1 else 0.0,
        # each token to its expert and back, forward and backward
        "experts": blocks * 4 * around(spread.experts) * between,
    }


def held(
    model: Transformer, spread: Spread, *, number: int = 4, slots: int = 2
) -> dict[str, float]:
    """Count the bytes that one device holds, with blocks that are rematerialised.

    Args:
        model: the sizes.
        spread: the mesh.
        number: bytes of a number.
        slots: numbers of optimizer state for each parameter: 2 for Adam.
    """
    here = model.parameters / (spread.model * spread.pipeline) * number
    whole, spread_out = here, here / spread.data
    tokens = model.tokens * spread.model * spread.pipeline
    kept = model.blocks / spread.pipeline * tokens * model.width * number
    return {
        "parameters": spread_out if spread.zero == "parameters" else whole,
        "gradients": spread_out if spread.zero == "parameters" else whole,
        "optimizer": slots * (spread_out if spread.zero else whole),
        "between blocks": kept / (spread.model if spread.sequence else 1),
    }


# ---- tables --------------------------------------------------------------------------------------

MODELS = (
    Transformer("GPT-2 124M", 12, 768, 7_087_872, 39_385_344, tokens=8 * 1024),
    Transformer("Llama 7B", 32, 4096, 202_383_360, 262_148_096, tokens=4096),
)
DEVICES = (8, 64, 1024)
IN_MACHINE = 8
"""GPUs of one machine."""
NVLINK, NETWORK = 450e9, 50e9
"""Bytes a second that a GPU sends within its machine, and to others: NVLink 4, and 400 Gbit/s a GPU."""
ARITHMETIC = 400e12
"""Operations a second that a GPU does: two fifths of an H100's peak in bfloat16."""
MEMORY = 80e9
"""Bytes of a GPU's memory."""


def spreads(devices: int) -> dict[str, Spread]:
    """Give the ways to use so many devices, by name; axes other than ``data`` stay in a machine."""
    rest = devices // IN_MACHINE
    return {
        "data parallel": Spread(data=devices),
        "ZeRO-1": Spread(data=devices, zero="optimizer"),
        "FSDP": Spread(data=devices, zero="parameters"),
        "tensor 8 x FSDP": Spread(data=rest, model=IN_MACHINE, zero="parameters"),
        "sequence 8 x FSDP": Spread(data=rest, model=8, zero="parameters", sequence=True),
        "pipeline 8 x FSDP": Spread(data=rest, pipeline=IN_MACHINE, zero="parameters"),
    }


def seconds(model: Transformer, spread: Spread) -> float:
    """Tell how long a device sends in a step, if nothing is hidden behind arithmetic."""
    inner = spread.model * spread.pipeline
    at = dict.fromkeys(("data", "model", "pipeline", "experts"), NVLINK)
    if spread.data * inner > IN_MACHINE:
        at["data"] = NETWORK  # the slowest link of the ring
    return sum(size / at[name] for name, size in sent(model, spread).items())


def rows(model: Transformer) -> Iterator[str]:
    """Write a model's table, a line each."""
    yield "| GPUs | way | sent by a GPU | time to send it | held by a GPU | |"
    yield "|---:|---|---:|---:|---:|---|"
    for devices in DEVICES:
        for name, spread in spreads(devices).items():
            memory = sum(held(model, spread).values())
            yield (
                f"| {devices:,} | {name} | {sum(sent(model, spread).values()) / 1e9:.2f} GB "
                f"| {seconds(model, spread) * 1e3:,.0f} ms | {memory / 1e9:.1f} GB "
                f"| {'' if memory < MEMORY else 'does not fit'} |"
            )


def tables() -> str:
    """Write the tables of all models, in Markdown."""
    parts = []
    for model in MODELS:
        arithmetic = 6 * model.parameters * model.tokens / ARITHMETIC
        parts += [
            f"{model.name}: {model.parameters:,} parameters, {model.tokens:,} tokens a GPU and step, "
            f"{arithmetic * 1e3:,.0f} ms of arithmetic.",
            "",
            *rows(model),
            "",
        ]
    return "\n".join(parts)


if __name__ == "__main__":
    print(tables())
