"""What packages are asked for, as PyTorch has it: keys are dotted names of packages, then the missing names."""

__all__ = ["OF_PACKAGES"]

_SAVE = (
    "fn.checkpoint.save_weights(path, module, params, state) and load_weights(path, module); any tree: "
    "fn.checkpoint.save(path, tree) and load(path)"
)
_INITIALIZER = (
    "an initializer is a value, given to the array that it fills: "
    "self.weight = nn.Parameter(shape, nn.init.{short}({given}))"
)
_GIVEN = {"constant": "value", "sparse": "sparsity"}

OF_PACKAGES: dict[str, dict[str, str]] = {
    "funcnet": {
        **dict.fromkeys(("save", "load"), _SAVE),
        **dict.fromkeys(("tensor", "Tensor", "from_numpy", "as_tensor"), "jnp.asarray(values)"),
        "compile": "fn.jit(function)",
        "compiler": "fn.jit(function); fn.compilation_cache keeps programs from run to run",
        "func": "torch.func's transforms are fn.grad, fn.vmap, fn.jacrev, fn.functional_call, ...",
        "autograd": "fn.grad, fn.value_and_grad, fn.custom_gradient",
        "utils": "torch.utils.data is fn.data; torch.utils.checkpoint is fn.remat; torch.utils.flop_counter is "
        "fn.count_operations(net, ...) (FlopCounterMode, register_flop_formula)",
        "amp": "fn.mixed_precision(net) is autocast, fn.training.dynamic_loss_scale() is GradScaler",
        "distributed": "fn.parallel",
        "Size": "a shape is a tuple",
        "DataLoader": "fn.data.DataLoader",
        "Linear": "fn.nn.Linear",
    },
    "funcnet.nn": {
        "functional": "fn.functional: from funcnet import functional as F",
        **dict.fromkeys(
            ("DataParallel", "parallel"),
            "training.fit(..., mesh=fn.parallel.mesh(data=-1)) is data parallel; by hand "
            "fn.parallel.batch_sharding(mesh) spreads a batch, and jax.jit does the rest",
        ),
        **dict.fromkeys(
            ("modules", "common_types"), "layers are in nn itself: nn.Linear, nn.Conv2d, ..."
        ),
        "grad": "jax.vjp(F.conv2d, x, weight)[1](g) gives both gradients of a convolution",
        "Container": "nn.Sequential, nn.ModuleList and nn.ModuleDict hold modules",
        "NLLLoss2d": "nn.NLLLoss",
        "factory_kwargs": "layers take dtype=; device belongs to the arrays",
        "UninitializedBuffer": "fn.Buffer((None, 3), init): None is learned from an example",
        "UninitializedParameter": "fn.Parameter((None, 3), init): None is learned from an example",
    },
    "funcnet.functional": {
        "conv_tbc": "F.conv1d of `x.transpose(1, 2, 0)`",
        **{
            f"{pool}_with_indices": f"F.{pool}(..., return_indices=True)"
            for pool in ("adaptive_max_pool1d", "adaptive_max_pool2d", "adaptive_max_pool3d", "fractional_max_pool2d",
                         "fractional_max_pool3d", "max_pool1d", "max_pool2d", "max_pool3d")
        },
        "grouped_mm": "jax.lax.ragged_dot(x, y, group_sizes); of offsets jnp.diff(offs, prepend=0)",
        **dict.fromkeys(
            ("scaled_mm", "scaled_grouped_mm", "ScalingType", "SwizzleType"),
            "F.float8_matmul, F.float8_linear; fn.compression.float8 makes the layers of a model so",
        ),
        "dropout_": "arrays are immutable, and randomness has a key: x = F.dropout(x, p, key=key)",
    },
    "funcnet.transforms": dict.fromkeys(
        ("Compose", "ToTensor", "Normalize", "Resize", "RandomCrop", "RandomHorizontalFlip", "CenterCrop", "Lambda"),
        "these transforms are JAX's, of functions; those of samples are functions too: "
        "data.DataLoader(dataset, transforms=[...]), and data.augment has some for images",
    ),
    "funcnet.data": {
        "TensorDataset": "data.ArrayDataset((x, y)) or data.ArrayDataset({'image': x, 'label': y})",
        "SubsetRandomSampler": "data.DataLoader(data.Subset(dataset, indices), shuffle=True)",
        "default_collate": "data.collate",
        "default_convert": "samples become NumPy arrays in data.collate",
        "get_worker_info": "a worker's share is decided for it: data.IterableDataset's docstring says how; a "
        "transform's "
        "parameter rng depends on the sample",
        "IterDataPipe": "data.IterableDataset; pipes are functions of datasets: data.map, data.filter, data.flat_map",
        "MapDataPipe": "a class with `__len__` and `__getitem__`; pipes are functions of datasets: data.map, data.zip",
        **dict.fromkeys(
            ("DFIterDataPipe", "DataChunk", "functional_datapipe", "non_deterministic", "datapipes",
            "argument_validation",
             "guaranteed_datapipes_determinism", "runtime_validation", "runtime_validation_disabled"),
            "pipes are functions of datasets: data.map, data.filter, data.flat_map, data.zip, data.mix",
        ),
        **dict.fromkeys(("dataloader", "dataset", "sampler"), "its names are here: data.DataLoader, ..."),
        "distributed": "data.DataLoader(dataset, shard=(index, count))",
        "transforms": "transforms are functions of a sample, a list of them: data.DataLoader(dataset, transforms=[f]); "
        "data.augment has some for images",
    },
    "funcnet.data.augment": {
        **dict.fromkeys(
            ("ToTensor", "PILToTensor", "ToImage"),
            "samples are NumPy arrays already, images (H, W) or (H, W, C): data.augment.ToFloat() divides by 255, or "
            "the step does, on the device; give convolutions (N, C, H, W)",
        ),
        **dict.fromkeys(("ConvertImageDtype", "ToDtype"), "data.augment.ToFloat()"),
        "ToPILImage": "images stay NumPy arrays",
        "Lambda": "any function of a sample is a transform; one with a parameter rng is given a generator",
    },
    "funcnet.nn.init": {
        f"{name}_": _INITIALIZER.format(short=name, given=_GIVEN.get(name, ""))
        for name in ("constant", "dirac", "eye", "kaiming_normal", "kaiming_uniform", "normal", "ones", "orthogonal",
                     "sparse", "trunc_normal", "uniform", "xavier_normal", "xavier_uniform", "zeros")
    },
}  # fmt: skip
