"""What to write instead: PyTorch's names that funcnet or JAX do not have, met where they are typed.

`INSTEAD` holds the sentences, by whose attribute was asked for. Packages make their ``__getattr__`` and
``__dir__`` of it (`package_attributes`), modules, `Functional` and optimizers their ``__getattr__``
(`missing_attribute`), constructors their refusal of keywords (`refused_keyword`), and a bound module adds a
note to what JAX itself says about a tensor's methods (`note_for`).
"""

import difflib
from collections.abc import Callable, Iterable
from types import ModuleType
from typing import Any

__all__ = [
    "missing_attribute",
    "note_for",
    "package_attributes",
    "public_names",
    "refused_keyword",
]

_APPLY = "net = fn.functionalize(module); output, state = net.apply(params, state, x)"
_PARAMS = (
    "the numbers live beside the module: "
    "params, state = fn.functionalize(module).init(jax.random.key(0))"
)
_ARRAYS = (
    "device and dtype belong to the arrays: jax.device_put(params, ...) or "
    "jax.tree.map(lambda x: x.astype(...), params)"
)
_MODE = "the mode is an argument: net.apply(params, state, x, key=key, train=True); evaluation is the default"
_PATHS = "names and arrays are in the dict that fn.state_dict(module, params, state) returns"
_PARTS = (
    "fn.summary(module) lists the modules with their paths; their attributes are ordinary Python"
)
_STEP = (
    "updates, opt_state = optimizer.update(grads, opt_state, params); "
    "params = optim.apply_updates(params, updates)"
)
_SHARD = "net = parallel.shard(net, mesh, parallel.{})"
_GRADS = "gradients are returned, not accumulated: grads = jax.grad(loss)(params)"
_FREE = "gradients are taken only where jax.grad is called; jax.lax.stop_gradient(x) holds one back"
_SAVE = (
    "fn.checkpoint.save_weights(path, module, params, state) and load_weights(path, module); any tree: "
    "fn.checkpoint.save(path, tree) and load(path)"
)
_JNP = "arrays are JAX's: jnp.{name}"
_HOOK = "fn.capture(net, 'path.*') returns what parts of a model return; fn.intervene replaces it"
_EXTRA = "what a model remembers is a Buffer, and so in state; anything else is saved beside it"
_STATE_HOOK = "change the dict itself: fn.state_dict(module, params, state) returns it"
_INITIALIZER = (
    "an initializer is a value, given to the array that it fills: "
    "self.weight = nn.Parameter(shape, nn.init.{short}())"
)
_QUANTIZED = "funcnet has no quantized layers"

INSTEAD: dict[str, dict[str, str]] = {
    "Module": {
        "forward": f"the call is `__call__`: define that, and write {_APPLY}",
        "parameters": f"{_PARAMS}; jax.tree.leaves(params) lists them",
        "named_parameters": _PATHS,
        "buffers": _PARAMS,
        "named_buffers": _PATHS,
        "modules": _PARTS,
        "named_modules": _PARTS,
        "children": _PARTS,
        "named_children": _PARTS,
        "train": _MODE,
        "eval": _MODE,
        **dict.fromkeys(
            ("to", "cuda", "cpu", "float", "double", "half", "bfloat16", "type", "xpu", "ipu", "mtia", "to_empty",
             "share_memory"),
            _ARRAYS,
        ),
        "requires_grad_": "differentiate with respect to what is trained: fn.value_and_grad(loss, wrt='head.*')",
        "zero_grad": _GRADS,
        "init": "params, state = fn.functionalize(module).init(jax.random.key(0))",
        "state_dict": "fn.state_dict(module, params, state)",
        "load_state_dict": "params, state = fn.load_state_dict(module, mapping)",
        "register_buffer": "self.name = fn.Buffer(shape, nn.init.zeros()) in __init__",
        "register_parameter": "self.name = fn.Parameter(shape, nn.init.normal()) in __init__",
        "add_module": "assign the module to an attribute: self.name = module, or setattr(self, name, module)",
        "apply": f"{_APPLY}; initializers belong to each Parameter",
        **dict.fromkeys(
            ("register_forward_hook", "register_forward_pre_hook", "register_backward_hook",
             "register_full_backward_hook", "register_full_backward_pre_hook"),
            _HOOK,
        ),
        "register_module": "assign the module to an attribute: self.name = module, or setattr(self, name, module)",
        **dict.fromkeys(("get_submodule", "set_submodule"), "parts are ordinary attributes: module.encoder.layers[0]"),
        **dict.fromkeys(("get_parameter", "get_buffer"), _PATHS),
        **dict.fromkeys(("get_extra_state", "set_extra_state"), _EXTRA),
        **dict.fromkeys(
            ("register_state_dict_pre_hook", "register_state_dict_post_hook", "register_load_state_dict_pre_hook",
             "register_load_state_dict_post_hook"),
            _STATE_HOOK,
        ),
        "compile": "jax.jit(net.apply)",
    },
    "Functional": {
        "parameters": "params, state = net.init(jax.random.key(0)); jax.tree.leaves(params) lists them",
        **dict.fromkeys(("train", "eval"), _MODE),
        **dict.fromkeys(("to", "cuda", "cpu", "half", "float"), _ARRAYS),
        "state_dict": "fn.state_dict(net.module, params, state)",
        "load_state_dict": "params, state = fn.load_state_dict(net.module, mapping)",
        "zero_grad": _GRADS,
        "forward": "output, state = net.apply(params, state, x)",
        **dict.fromkeys(("params", "state"), "params, state = net.init(jax.random.key(0))"),
    },
    "optimizer": {
        "step": _STEP,
        "zero_grad": _GRADS,
        "param_groups": "optim.groups({'*.bias': ..., '*': ...}) makes groups by path; optim.hyperparams(opt_state) "
        "reads what is set, optim.with_hyperparams(opt_state, lr=...) changes it",
        "state_dict": "the state is a pytree: fn.checkpoint saves it as it is",
        "load_state_dict": "the state is a pytree: load it, and pass it to update",
        "state": "the state is a value: opt_state = optimizer.init(params)",
        "defaults": "optim.hyperparams(opt_state) reads what is set",
        **dict.fromkeys(
            ("register_step_pre_hook", "register_step_post_hook"),
            "a step is a call: do it before or after optimizer.update; optim.chain puts transformations around one",
        ),
        "add_param_group": "optim.groups({'*.bias': ..., '*': ...}) makes groups by path",
    },
    "funcnet": {
        **dict.fromkeys(
            ("no_grad", "enable_grad", "inference_mode", "set_grad_enabled", "is_grad_enabled"), _FREE
        ),
        **dict.fromkeys(("save", "load"), _SAVE),
        "manual_seed": "randomness is an argument: key = jax.random.key(seed)",
        **dict.fromkeys(("device", "cuda"), "arrays go to a device by jax.device_put(x, jax.devices()[0])"),
        **dict.fromkeys(("tensor", "Tensor", "from_numpy", "as_tensor"), "jnp.asarray(values)"),
        **dict.fromkeys(
            ("zeros", "ones", "arange", "linspace", "eye", "full", "stack", "concatenate", "where", "einsum",
             "matmul", "exp", "log", "sum", "mean", "sqrt", "zeros_like", "ones_like", "argmax"),
            _JNP,
        ),
        "cat": "jnp.concatenate(arrays, axis)",
        **dict.fromkeys(("rand", "randn", "randint", "randperm"), "jax.random.uniform(key, shape), normal, ..."),
        "compile": "fn.jit(function)",
        "func": "torch.func's transforms are fn.grad, fn.vmap, fn.jacrev, fn.functional_call, ...",
        "autograd": "fn.grad, fn.value_and_grad, fn.custom_gradient",
        "utils": "torch.utils.data is fn.data; torch.utils.checkpoint is fn.remat",
        "amp": "fn.mixed_precision(net) is autocast, fn.training.dynamic_loss_scale() is GradScaler",
        "distributed": "fn.parallel",
        **dict.fromkeys(
            ("float16", "bfloat16", "float32", "float64", "int8", "int16", "int32", "int64", "uint8", "complex64"), _JNP
        ),
        **dict.fromkeys(("float", "half", "double", "long", "int", "bool"), "dtypes are JAX's: jnp.float32, jnp.int32"),
        **dict.fromkeys(
            ("set_default_dtype", "get_default_dtype"),
            "layers take dtype=; 64 bits are switched on by jax.config.update('jax_enable_x64', True)",
        ),
        **dict.fromkeys(
            ("backends", "set_num_threads", "use_deterministic_algorithms", "set_float32_matmul_precision"),
            "jax.config and XLA's flags say how it is computed",
        ),
        "Generator": "randomness is an argument: key = jax.random.key(seed)",
        "Size": "a shape is a tuple",
        "jit": "fn.jit(function)",
        "DataLoader": "fn.data.DataLoader",
        "Linear": "fn.nn.Linear",
        "relu": "fn.functional.relu",
        "softmax": "fn.functional.softmax",
    },
    "funcnet.nn": {
        "functional": "fn.functional: from funcnet import functional as F",
        "utils": "optim.clip_by_global_norm clips, in a chain before the optimizer; weight_norm and spectral_norm "
        "are in nn.parametrizations; fn.state_dict names arrays",
        "DataParallel": "fn.parallel.batch_sharding(mesh) spreads a batch; jax.jit does the rest",
        **dict.fromkeys(
            ("modules", "parallel", "common_types", "grad"), "layers are in nn itself: nn.Linear, nn.Conv2d, ..."
        ),
        **dict.fromkeys(("intrinsic", "qat", "quantizable", "quantized"), _QUANTIZED),
        "Container": "nn.Sequential, nn.ModuleList and nn.ModuleDict hold modules",
        "UninitializedBuffer": "fn.Buffer((None, 3), init): None is learned from an example",
        "UninitializedParameter": "fn.Parameter((None, 3), init): None is learned from an example",
    },
    "funcnet.parallel": {
        **dict.fromkeys(("DataParallel", "DistributedDataParallel"), "parallel.batch_sharding(mesh) for batches"),
        **dict.fromkeys(("FSDP", "FullyShardedDataParallel", "fully_shard"), _SHARD.format("fully_sharded()")),
        **dict.fromkeys(
            ("parallelize_module", "ColwiseParallel", "RowwiseParallel"), _SHARD.format("tensor_parallel(net)")
        ),
        "ZeroRedundancyOptimizer": "parallel.shard_optimizer(optimizer, net, zero='data')",
        **dict.fromkeys(("Mesh", "DeviceMesh", "init_device_mesh", "make_mesh"), "parallel.mesh(data=-1, model=2)"),
        "init_process_group": "parallel.start()",
        **dict.fromkeys(("all_reduce", "all_gather", "broadcast"), "jax.lax.psum and the like, inside jax.shard_map"),
    },
    "funcnet.optim": {
        "lr_scheduler": "a schedule is given in place of a number: optim.adamw(optim.schedules.cosine(1e-3, steps))",
        "Optimizer": "an optimizer is a pair (init, update): optim.from_rule makes one of a formula for one array",
        **dict.fromkeys(
            ("swa_utils", "AveragedModel", "SWALR"), "optim.average(optimizer, ...) keeps an average of the parameters"
        ),
        **dict.fromkeys(
            ("clip_grad_norm_", "clip_grad_norm"), "optim.chain(optim.clip_by_global_norm(1.0), optim.adamw(1e-3))"
        ),
        **dict.fromkeys(
            ("clip_grad_value_", "clip_grad_value"), "optim.chain(optim.clip_by_value(1.0), optim.adamw(1e-3))"
        ),
    },
    "funcnet.optim.schedules": {
        "StepLR": "optim.schedules.step(lr, step_size, gamma)",
        "MultiStepLR": "optim.schedules.multi_step(lr, milestones, gamma)",
        "ExponentialLR": "optim.schedules.exponential(lr, gamma)",
        "CosineAnnealingLR": "optim.schedules.cosine(lr, T_max)",
        "CosineAnnealingWarmRestarts": "optim.schedules.cosine_warm_restarts(lr, T_0)",
        "LambdaLR": "optim.schedules.lambda_(lr, function)",
        "MultiplicativeLR": "optim.schedules.multiplicative(lr, function)",
        "LinearLR": "optim.schedules.linear(lr, ...)",
        "ConstantLR": "optim.schedules.constant(lr, ...)",
        "PolynomialLR": "optim.schedules.polynomial(lr, ...)",
        "OneCycleLR": "optim.schedules.one_cycle(max_lr, total_steps)",
        "CyclicLR": "optim.schedules.cyclic(base_lr, max_lr)",
        "SequentialLR": "optim.schedules.sequential(schedules, milestones)",
        "ChainedScheduler": "optim.schedules.chained(schedules)",
        "ReduceLROnPlateau": "optim.schedules.reduce_on_plateau(...)",
        "LRScheduler": "a schedule is a function of the step: lambda step: 0.1 * 0.5**step",
    },
    "funcnet.nn.init": {
        f"{name}_": _INITIALIZER.format(short=name)
        for name in ("constant", "dirac", "eye", "kaiming_normal", "kaiming_uniform", "normal", "ones", "orthogonal",
                     "sparse", "trunc_normal", "uniform", "xavier_normal", "xavier_uniform", "zeros")
    },
    "funcnet.transforms": dict.fromkeys(
        ("Compose", "ToTensor", "Normalize", "Resize", "RandomCrop", "RandomHorizontalFlip", "CenterCrop", "Lambda"),
        "these transforms are JAX's, of functions; those of samples are functions too: "
        "data.DataLoader(dataset, transforms=[...]), and data.augment has some for images",
    ),
    "funcnet.data": {
        "TensorDataset": "data.ArrayDataset((x, y)) or data.ArrayDataset({'image': x, 'label': y})",
        "default_collate": "data.collate",
        "get_worker_info": "a worker's share is decided for it; data.IterableDataset's docstring says how",
    },
    "funcnet.functional": {},
    "array": {
        "view": "x.reshape(...)",
        "flatten": "x.reshape(x.shape[0], -1); nn.Flatten() is a layer",
        "size": "x.shape, x.shape[i]; x.size is the number of elements",
        "dim": "x.ndim; where PyTorch has dim= JAX has axis=",
        "keepdim": "keepdims=",
        "permute": "x.transpose(axes)",
        "contiguous": "nothing: arrays have no strides",
        "detach": "jax.lax.stop_gradient(x)",
        "backward": "grads = jax.grad(loss)(params)",
        "grad": "grads = jax.grad(loss)(params)",
        "requires_grad": "differentiate with respect to what is trained: jax.grad(loss, argnums)",
        **dict.fromkeys(("to", "cpu", "cuda"), "x.astype(dtype), jax.device_put(x, device)"),
        **dict.fromkeys(("float", "half", "bfloat16", "double", "long", "int", "bool"), "x.astype(dtype)"),
        "unsqueeze": "jnp.expand_dims(x, axis), or x[:, None]",
        "expand": "jnp.broadcast_to(x, shape)",
        "numpy": "np.asarray(x)",
        "chunk": "jnp.split(x, n, axis)",
        "masked_fill": "jnp.where(mask, value, x)",
        "softmax": "F.softmax(x, axis)",
        "relu": "F.relu(x)",
        "sigmoid": "F.sigmoid(x)",
        "tanh": "jnp.tanh(x)",
        "matmul": "x @ y",
        "norm": "jnp.linalg.norm(x)",
        "cat": "jnp.concatenate(arrays, axis)",
        "a tensor": "arrays are JAX's or NumPy's: pass tensor.numpy()",
    },
}  # fmt: skip

_KEYWORDS = {
    "inplace": "arrays are immutable, so there is nothing to do in place: leave it out",
    "device": "device belongs to the arrays: jax.jit(net.init, ...) or jax.device_put(params, device); leave it out",
    "requires_grad": "differentiate with respect to what is trained: fn.value_and_grad(loss, wrt='head.*'); what is "
    "never trained is a Buffer",
}


def missing_attribute(kind: str, owner: str, name: str) -> str:
    """Say that an attribute is missing, and what to write where PyTorch has one of that name.

    >>> missing_attribute("Module", "Linear", "cuda")[:42]
    "'Linear' object has no attribute 'cuda'. I"
    """
    message = f"{owner!r} object has no attribute {name!r}"
    instead = INSTEAD[kind].get(name)
    if instead is None and kind == "Functional":  # whatever a module is asked for
        instead = INSTEAD["Module"].get(name)
    return message if instead is None else f"{message}. In funcnet: {instead}"


def refused_keyword(owner: str, name: str) -> str | None:
    """Say what to write instead of a keyword that PyTorch's constructors have; None for any other.

    >>> refused_keyword("Dropout", "inplace")
    'Dropout takes no inplace=: arrays are immutable, so there is nothing to do in place: leave it out'
    """
    return f"{owner} takes no {name}=: {_KEYWORDS[name]}" if name in _KEYWORDS else None


KEYWORDS = frozenset(_KEYWORDS)


def note_for(error: Exception) -> str | None:
    """Say what to write where JAX has no method or argument that PyTorch's tensors have.

    Args:
        error: what was raised: by an array, or by a function of ``jax.numpy``.

    >>> try:
    ...     jnp.ones(3).unsqueeze(0)
    ... except AttributeError as error:
    ...     note_for(error)
    'In JAX: jnp.expand_dims(x, axis), or x[:, None]'
    """
    told = INSTEAD["array"]
    name = None
    if isinstance(error, AttributeError) and type(error.obj).__module__.startswith("jax"):
        name = error.name or ""
        if name not in told and name.endswith("_"):
            return f"In JAX: arrays are immutable: x = ... in place of x.{name}(...)"
    elif isinstance(error, AttributeError) and getattr(error.obj, "__name__", "") == "jax.numpy":
        name = error.name
    elif isinstance(error, TypeError | ValueError | NotImplementedError):
        text = str(error)
        name = next((word for sign, word in _SIGNS if sign in text), None)
    return None if name is None or name not in told else f"In JAX: {told[name]}"


_SIGNS = (
    ("unexpected keyword argument 'dim'", "dim"),
    ("unexpected keyword argument 'keepdim'", "keepdim"),
    ("Unexpected value for 'order' argument", "flatten"),
    ("as a data type", "view"),
    ("array.view()", "view"),
    ("'int' object is not callable", "size"),
    ("torch.Tensor", "a tensor"),
)
"""Words of JAX's messages by which a tensor's method is known."""


def package_attributes(
    package: str, public: Iterable[str], lazy: Callable[[str], Any] | None = None
) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """Return a package's ``__getattr__`` and ``__dir__``: hints for what is missing, and public names alone.

    Args:
        package: its dotted name.
        public: its public names.
        lazy: loads a name on first use, or raises AttributeError.
    """
    names = sorted(set(public))

    def attribute(name: str) -> Any:
        if lazy is not None:
            try:
                return lazy(name)
            except AttributeError:
                pass
        if name.startswith("__"):
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        raise AttributeError(missing_name(package, name, names), name=name)

    return attribute, lambda: names


def missing_name(package: str, name: str, names: Iterable[str]) -> str:
    """Say that a package has no such name, and which was perhaps meant.

    >>> missing_name("funcnet.optim", "AdamW", ["adam", "adamw"])
    "module 'funcnet.optim' has no attribute 'AdamW'. In funcnet: optim.adamw"
    """
    message = f"module {package!r} has no attribute {name!r}"
    short = package.rpartition(".")[2].replace("funcnet", "fn")
    instead = INSTEAD.get(package, {}).get(name)
    if instead is None:
        same = [known for known in names if _plain(known) == _plain(name)]
        instead = f"{short}.{same[0]}" if same else None
    if instead is not None:
        return f"{message}. In funcnet: {instead.format(name=name)}"
    near = difflib.get_close_matches(name, list(names), 3, 0.75)
    return f"{message}. Did you mean {' or '.join(near)}?" if near else message


def _plain(name: str) -> str:
    return name.replace("_", "").lower()


def public_names(package: ModuleType, also: Iterable[str] = ()) -> list[str]:
    """List what a package's star imports brought: its names that are neither private nor files.

    Args:
        package: imported.
        also: folders that are public.
    """
    found = [
        name
        for name, value in vars(package).items()
        if not name.startswith("_") and not isinstance(value, ModuleType)
    ]
    return sorted({*found, *also})
