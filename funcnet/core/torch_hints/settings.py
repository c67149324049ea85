"""What PyTorch's global settings, its types of tensors and kinds of memory are called here."""

__all__ = ["OF_SETTINGS"]

_KEY = "randomness is an argument: key = jax.random.key(seed)"
_STATE = "no generator has a state: a key is an array, and is saved as one (jax.random.key_data)"
_XLA = "jax.config and XLA's flags say how it is computed"
_TYPED = "jnp.asarray(values, dtype): dtypes belong to arrays"
_LAYOUT = "arrays have one layout, which XLA chooses; layers take channels_last=True"
_SPARSE = (
    "JAX's sparse arrays are experimental: jax.experimental.sparse.BCOO; tables with sparse gradients: "
    "optim.sparse_adam"
)
_BITS = "small integers are jnp.int4, jnp.uint4; F.pack_int4; weights of few bits: fn.compression.quantize"
_QUANTIZED = "arrays are not quantized, models are: fn.compression.quantize; F.quantize_linear, F.scale_and_zero_point"
_STREAM = "JAX orders what a device does: there are no streams; jax.block_until_ready(x) waits"
_DEFAULT = "jax.config.update('jax_default_device', device), or `with jax.default_device(device)`"

OF_SETTINGS: dict[str, dict[str, str]] = {
    "funcnet": {
        **dict.fromkeys(("manual_seed", "seed", "initial_seed", "Generator"), _KEY),
        **dict.fromkeys(("get_rng_state", "set_rng_state", "fork_rng", "thread_safe_generator"), _STATE),
        **dict.fromkeys(
            ("backends", "set_num_threads", "get_num_threads", "set_num_interop_threads", "get_num_interop_threads",
             "use_deterministic_algorithms", "are_deterministic_algorithms_enabled", "set_deterministic_debug_mode",
             "get_deterministic_debug_mode", "is_deterministic_algorithms_warn_only_enabled", "set_flush_denormal",
             "set_warn_always", "is_warn_always_enabled"),
            _XLA,
        ),
        **dict.fromkeys(
            ("set_float32_matmul_precision", "get_float32_matmul_precision"),
            "jax.config.update('jax_default_matmul_precision', 'highest')",
        ),
        **dict.fromkeys(("set_default_device", "get_default_device"), _DEFAULT),
        **dict.fromkeys(
            ("set_default_dtype", "get_default_dtype", "set_default_tensor_type"),
            "layers take dtype=; 64 bits are switched on by jax.config.update('jax_enable_x64', True)",
        ),
        "get_device": "x.devices()",
        "cuda": "arrays go to a device by jax.device_put(x, jax.devices()[0])",
        "device": "arrays go to a device by jax.device_put(x, jax.devices()[0])",
        **dict.fromkeys(("Stream", "Event"), _STREAM),
        **dict.fromkeys(("memory_format", "layout", "channels_last", "contiguous_format", "strided"), _LAYOUT),
        "is_storage": "arrays have no storage that one could see",
        **dict.fromkeys(
            ("BoolTensor", "ByteTensor", "CharTensor", "DoubleTensor", "FloatTensor", "IntTensor", "LongTensor",
            "ShortTensor",
             "HalfTensor", "BFloat16Tensor"),
            _TYPED,
        ),
        **dict.fromkeys(
            ("float", "half", "double", "long", "int", "bool", "short", "cfloat", "cdouble"),
            "dtypes are JAX's: jnp.float32, jnp.int32",
        ),
        **dict.fromkeys(("chalf", "complex32"), "JAX has jnp.complex64 and jnp.complex128"),
        **dict.fromkeys(
            ("int1", "int3", "int5", "int6", "int7", "uint1", "uint3", "uint5", "uint6", "uint7", "bit",
             "float4_e2m1fn_x2"),
            _BITS,
        ),
        **dict.fromkeys(
            ("quint2x4", "quint4x2", "qint32", "qscheme", "int_repr", "q_scale", "q_zero_point", "dequantize",
            "empty_quantized",
             "quantize_per_tensor_dynamic"),
            _QUANTIZED,
        ),
        **dict.fromkeys(
            ("sparse_bsc_tensor", "sparse_bsr_tensor", "sparse_compressed_tensor", "sparse_coo_tensor",
            "sparse_csc_tensor",
             "sparse_csr_tensor", "sparse"),
            _SPARSE,
        ),
        "DisableTorchFunctionSubclass": "nothing overrides functions of arrays",
        "linalg": "JAX has it: jnp.linalg",
        "special": "JAX has it: jax.scipy.special",
        "random": "jax.random: its functions take a key",
        "onnx": "fn.export.onnx",
        "hub": "files of weights are read by fn.checkpoint.load_weights",
        "distributions": "jax.random draws samples; jax.scipy.stats has densities",
        "multiprocessing": "data.DataLoader(..., num_workers=n) makes processes of its own",
        "profiler": "jax.profiler; fn.training.Profile within fit",
        "nested": "arrays have one length: data.pad, or data.pack and segment_ids=",
        "fill_": "arrays are immutable: x = jnp.full_like(x, value)",
        "zero_": "arrays are immutable: x = jnp.zeros_like(x)",
        **dict.fromkeys(("resize_as_", "resize_as_sparse_"), "arrays are immutable: x = x.reshape(y.shape)"),
    },
}  # fmt: skip
