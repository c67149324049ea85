"""What packages are asked for, as PyTorch has it: keys are dotted names of packages, then the missing names."""

__all__ = ["OF_PACKAGES"]

_SHARD = "net = parallel.shard(net, mesh, parallel.{})"
_FREE = "gradients are taken only where jax.grad is called; jax.lax.stop_gradient(x) holds one back"
_SAVE = (
    "fn.checkpoint.save_weights(path, module, params, state) and load_weights(path, module); any tree: "
    "fn.checkpoint.save(path, tree) and load(path)"
)
_JNP = "arrays are JAX's: jnp.{name}"
_INITIALIZER = (
    "an initializer is a value, given to the array that it fills: "
    "self.weight = nn.Parameter(shape, nn.init.{short}())"
)

OF_PACKAGES: dict[str, dict[str, str]] = {
    "funcnet": {
        **dict.fromkeys(
            ("no_grad", "enable_grad", "inference_mode", "set_grad_enabled", "is_grad_enabled"), _FREE
        ),
        **dict.fromkeys(("save", "load"), _SAVE),
        "manual_seed": "randomness is an argument: key = jax.random.key(seed)",
        **dict.fromkeys(("device", "cuda"), "arrays go to a device by jax.device_put(x, jax.devices()[0])"),
        **dict.fromkeys(("tensor", "Tensor", "from_numpy", "as_tensor"), "jnp.asarray(values)"),
        **dict.fromkeys(
            ("zeros", "ones", "arange", "linspace", "eye", "full", "concatenate", "where", "einsum",
             "matmul", "exp", "log", "sum", "mean", "sqrt", "zeros_like", "ones_like", "argmax"),
            _JNP,
        ),
        "cat": "jnp.concatenate(arrays, axis)",
        **dict.fromkeys(("rand", "randn", "randint", "randperm"), "jax.random.uniform(key, shape), normal, ..."),
        "compile": "fn.jit(function)",
        "func": "torch.func's transforms are fn.grad, fn.vmap, fn.jacrev, fn.functional_call, ...",
        "autograd": "fn.grad, fn.value_and_grad, fn.custom_gradient",
        "utils": "torch.utils.data is fn.data; torch.utils.checkpoint is fn.remat; torch.utils.flop_counter is "
        "fn.count_operations(net, ...) (FlopCounterMode, register_flop_formula)",
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
        "DataLoader": "fn.data.DataLoader",
        "Linear": "fn.nn.Linear",
        "relu": "fn.functional.relu",
        "softmax": "fn.functional.softmax",
    },
    "funcnet.nn": {
        "functional": "fn.functional: from funcnet import functional as F",
        "DataParallel": "fn.parallel.batch_sharding(mesh) spreads a batch; jax.jit does the rest",
        **dict.fromkeys(
            ("modules", "parallel", "common_types", "grad"), "layers are in nn itself: nn.Linear, nn.Conv2d, ..."
        ),
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
    "funcnet.nn.init": {
        f"{name}_": _INITIALIZER.format(short=name)
        for name in ("constant", "dirac", "eye", "kaiming_normal", "kaiming_uniform", "normal", "ones", "orthogonal",
                     "sparse", "trunc_normal", "uniform", "xavier_normal", "xavier_uniform", "zeros")
    },
}  # fmt: skip
