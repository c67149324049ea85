"""Write the public names of PyTorch and their arguments: ``python -m docs.generation.dictionary.collect``.

Needs PyTorch. A test compares the file with the PyTorch that is installed.
"""

import ast
import importlib
import inspect
import re
import warnings
from types import ModuleType
from typing import Any

from docs.generation.dictionary.packages import PACKAGES
from docs.generation.dictionary.torch_names import FILE

__all__ = ["collect", "names_of"]

NOT_USERS = re.compile(
    r"""
    .*(_copy|_notes|Type|Storage|Tensor_|_backward_elemt|_stats|_elemt|_with_counts|_backward_reduce)$
    |(cudnn|miopen|mkldnn|fbgemm|quantized|sym|native|import_ir|parse|unify|merge_type|fused_moving|q_per|int_repr)_.*
    |(Sym|Script|PyTorch|Deserialization|Serialization|Concrete|Broadcasting|bits|GRID_).*
    |(autocast_|clear_autocast|get_autocast|set_autocast|is_autocast_(cache|cpu|ipu|xla)).*
    |.*(Storage|Logger|Guard|Dispatch.*|TorchFunction|Schema|Sparse.*)$
    |(handle|has)_torch_function.*|has_(lapack|mkl|openmp|spectral)|boolean_dispatch|assert_int_or_pair
    |.*(Options|Error)$
    |(rnn_tanh|rnn_relu|gru|lstm)(_cell)?|_.*
    """,
    re.VERBOSE,
)
"""What the lists of PyTorch have and its manual has not: parts of its compilers and back ends."""

INTERNAL = """
AVG AggregationType AliasDb Argument ArgumentSpec BenchmarkConfig BenchmarkExecutionStats Block BufferDict
CallStack Capsule Code CompilationUnit CompleteArgumentSpec DeepCopyMemoTable ErrorReport ExecutionPlan
FileCheck Future Gradient Graph GraphExecutorState IODescriptor JITException LiteScriptModule Node
OperatorInfo Python SUM StaticModule Tag ThroughputBenchmark TracingState Use Value cpp fork wait
init_num_threads typename hash_tensor FatalError AcceleratorError OutOfMemoryError DisableTorchFunction
Optional Callable DType TYPE_CHECKING timedelta thread_safe_generator is_vulkan_available
choose_qparams_optimized hsmm hspmm saddmm dsmm smm spmm sspaddmm slice_inverse ModuleDict ParameterDict
variable grad_mode module_load default_generator unsafe_chunk unsafe_split unsafe_split_with_sizes
affine_grid_generator grid_sampler grid_sampler_2d grid_sampler_3d convolution constant_pad_nd
embedding_renorm_ norm_except_dim is_distributed is_inference is_conj is_neg resolve_conj resolve_neg
is_same_size rsub fill get_device_module breakpoint QueueEmptyError Logger
"""  # fmt: skip

ALSO = """
unique broadcast_shapes set_default_dtype set_grad_enabled from_dlpack to_dlpack segment_reduce pca_lowrank svd_lowrank
while_loop channels_last lu nn optim func autograd amp distributed fft linalg special random jit onnx hub distributions
sparse nested profiler backends compiler multiprocessing cuda utils
"""
"""What users write and ``torch.__all__`` lacks: some functions, and packages."""

KEPT = frozenset(
    [
        "dtype",
        "Size",
        "Generator",
        "device",
        "finfo",
        "iinfo",
        "memory_format",
        "layout",
        "Event",
        "Stream",
    ]
)


def names_of(package: str) -> list[str]:
    """List the names of one package of PyTorch that users write, sorted."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # some names are deprecated
        return sorted(_kept(package, _listed(package)))


def _listed(package: str) -> list[str]:
    found = _module(package)
    listed = getattr(found, "__all__", None) if isinstance(found, ModuleType) else None
    if package == "torch.Tensor":
        return dir(found)
    if listed is not None:
        also = ALSO.split() if package == "torch" else []
        return [name for name in {*listed, *also} if hasattr(found, name)]
    return [name for name in dir(found) if _is_own(name, getattr(found, name), package)]


def _kept(package: str, names: list[str]) -> set[str]:
    if package not in ("torch", "torch.Tensor", "torch.nn.functional", "torch.distributed"):
        return {name for name in names if name[0] != "_" and name != "Tensor"}
    kept = {n for n in names if n in KEPT or not (NOT_USERS.fullmatch(n) or n in INTERNAL.split())}
    return kept if package == "torch" else kept - {"Tensor"}


def collect() -> str:
    """Return the file's text: PyTorch's version, then names and arguments by package."""
    torch: Any = _module("torch")
    lines = [f"version {torch.__version__.partition('+')[0]}"]
    for package in dict.fromkeys(package.name for package in PACKAGES):
        lines += ["", f"[{package}]"]
        lines += [name + _arguments(package, name) for name in names_of(package)]
    return "\n".join(lines) + "\n"


def _module(package: str) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # some packages of PyTorch are deprecated
        if package == "torch.Tensor":
            return importlib.import_module("torch").Tensor
        return importlib.import_module(package)


def _is_own(name: str, value: Any, package: str) -> bool:
    if isinstance(value, ModuleType):
        return value.__name__.startswith(f"{package}.")
    home = getattr(value, "__module__", None) or "torch"
    if name in ("Logger", "remote_device"):
        return False
    return name[0] != "_" and callable(value) and home.startswith("torch")


def _arguments(package: str, name: str) -> str:
    """Write a function's or a constructor's arguments; nothing where PyTorch does not tell them."""
    if package in ("torch", "torch.Tensor"):
        return ""  # functions of arrays are not compared
    value = getattr(_module(package), name)
    if not callable(value) or (inspect.isclass(value) and value.__init__ is object.__init__):
        return ""
    try:
        found = inspect.signature(value)
    except (TypeError, ValueError):
        return _told(value, name)
    if "boolean_dispatch" in getattr(value, "__qualname__", ""):
        found = inspect.signature(getattr(_module(package), f"_{name}"))
    return _written(found)


def _told(value: Any, name: str) -> str:
    """Read the arguments of a built-in function in the first line of its docstring."""
    told = re.search(rf"\b{name}\((.*?)\)\s*->", value.__doc__ or "", re.DOTALL)
    if told is None:
        return ""
    try:
        made = ast.parse(f"def f({told[1]}): ...").body[0]
    except SyntaxError:
        return ""
    assert isinstance(made, ast.FunctionDef)
    arguments = [*made.args.posonlyargs, *made.args.args]
    defaults: list[Any] = [None] * (len(arguments) - len(made.args.defaults)) + made.args.defaults
    arguments += made.args.kwonlyargs
    defaults += made.args.kw_defaults
    parts = [
        a.arg if d is None else f"{a.arg}={ast.unparse(d)}"
        for a, d in zip(arguments, defaults, strict=True)
    ]
    return f"({', '.join(parts)})"


def _written(signature: inspect.Signature) -> str:
    parts = []
    for parameter in signature.parameters.values():
        if parameter.name in ("self", "cls"):
            continue
        star = {parameter.VAR_POSITIONAL: "*", parameter.VAR_KEYWORD: "**"}.get(parameter.kind, "")
        default = parameter.default
        if default is parameter.empty:
            parts.append(star + parameter.name)
        else:
            plain = default is None or isinstance(default, bool | int | float | str)
            parts.append(f"{parameter.name}={default!r}" if plain else f"{parameter.name}=...")
    return f"({', '.join(parts)})"


if __name__ == "__main__":
    FILE.write_text(collect())
    print(f"wrote {FILE}")
