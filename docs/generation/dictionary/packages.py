"""PyTorch's packages that the dictionary has, by page, and whom of funcnet one asks for their names."""

from dataclasses import dataclass

__all__ = ["PACKAGES", "PAGES", "Package", "Page"]


@dataclass(frozen=True)
class Package:
    """One package of PyTorch.

    Attributes:
        name: ``torch.nn``; ``torch.Tensor`` stands for the methods of arrays.
        asked: the package of funcnet that a user asks for the same names; ``array`` for methods.
        short: how its names are written in the left column.
    """

    name: str
    asked: str
    short: str


@dataclass(frozen=True)
class Page:
    """One page: its file's name, its title, its packages."""

    file: str
    title: str
    packages: tuple[Package, ...]


def _package(name: str, asked: str = "funcnet", short: str = "") -> Package:
    return Package(f"torch.{name}" if name else "torch", asked, short or name or "torch")


PAGES = (
    Page("nn", "torch.nn", (_package("nn", "funcnet.nn"),)),
    Page("functional", "torch.nn.functional", (_package("nn.functional", "funcnet.functional", "F"),)),
    Page("init", "torch.nn.init", (_package("nn.init", "funcnet.nn.init"),)),
    Page(
        "utilities",
        "torch.nn.utils",
        (
            _package("nn.utils", "funcnet.nn.utils"),
            _package("nn.utils.rnn", "funcnet.nn.utils.rnn", "rnn"),
            _package("nn.utils.parametrize", "funcnet.nn.utils.parametrize", "parametrize"),
            _package("nn.utils.parametrizations", "funcnet.nn.utils.parametrizations", "parametrizations"),
            _package("nn.utils.prune", "funcnet.compression", "prune"),
            _package("nn.utils.fusion", "funcnet.nn.utils.fusion", "fusion"),
            _package("nn.utils.stateless", "funcnet", "stateless"),
        ),
    ),
    Page(
        "attention",
        "torch.nn.attention",
        (
            _package("nn.attention", "funcnet.nn.attention"),
            _package("nn.attention.flex_attention", "funcnet.functional", "flex_attention"),
            _package("nn.attention.bias", "funcnet.functional", "bias"),
        ),
    ),
    Page(
        "optim",
        "torch.optim and lr_scheduler",
        (
            _package("optim", "funcnet.optim"),
            _package("optim.lr_scheduler", "funcnet.optim.schedules", "lr_scheduler"),
            _package("optim.swa_utils", "funcnet.optim", "swa_utils"),
        ),
    ),
    Page(
        "data",
        "torch.utils.data",
        (
            _package("utils.data", "funcnet.data", "data"),
            _package("utils.data.distributed", "funcnet.data", "data.distributed"),
        ),
    ),
    Page(
        "transforms",
        "torch.func and torch.autograd",
        (
            _package("func"),
            _package("autograd"),
            _package("autograd.functional"),
            _package("autograd.forward_ad", short="forward_ad"),
            _package("autograd.graph"),
            _package("utils.checkpoint", short="checkpoint"),
            _package("utils.flop_counter", short="flop_counter"),
        ),
    ),
    Page("amp", "torch.amp", (_package("amp"),)),
    Page(
        "parallel",
        "torch.nn.parallel and torch.distributed",
        (
            _package("nn.parallel", "funcnet.parallel"),
            _package("distributed", "funcnet.parallel"),
            _package("distributed.fsdp", "funcnet.parallel", "fsdp"),
            _package("distributed.tensor", "funcnet.parallel"),
            _package("distributed.tensor.parallel", "funcnet.parallel", "tensor.parallel"),
            _package("distributed.pipelining", "funcnet.parallel", "pipelining"),
        ),
    ),
    Page("quantization", "torch.ao.quantization", (_package("ao.quantization", "funcnet.compression", "ao"),)),
    Page("functions", "torch: functions of arrays", (_package(""), _package("random"))),
    Page("tensor", "torch.Tensor: methods", (_package("Tensor", "array", "x"),)),
    Page(
        "mathematics",
        "torch.linalg, torch.fft and torch.special",
        (_package("linalg"), _package("fft"), _package("special")),
    ),
    Page("distributions", "torch.distributions", (_package("distributions"),)),
)  # fmt: skip

PACKAGES = tuple(package for page in PAGES for package in page.packages)
