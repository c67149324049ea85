"""What ``nn.utils`` and its parts, and attention beyond the layers, are asked for, as PyTorch has it."""

__all__ = ["OF_UTILITIES"]

_IMMUTABLE = "arrays are immutable: {}"
_CLIP_NORM = _IMMUTABLE.format(
    "grads, norm = nn.utils.clip_grad_norm(grads, max_norm), or optim.clip_by_global_norm in a chain"
)
_CLIP_VALUE = _IMMUTABLE.format(
    "grads = nn.utils.clip_grad_value(grads, clip_value), or optim.clip_by_value in a chain"
)
_CLIP_KNOWN = _IMMUTABLE.format(
    "grads = nn.utils.clip_grads_with_norm(grads, max_norm, total_norm)"
)
_CHANNELS_LAST = (
    "a layer says how its inputs lie: nn.Conv2d(..., channels_last=True), nn.BatchNorm2d(..., channels_last=True); "
    "weights stay as they are"
)
_FUSE = {
    "fuse_conv_bn_eval": "module, params, state = nn.utils.fuse_conv_bn(module, params, state)",
    "fuse_linear_bn_eval": "module, params, state = nn.utils.fuse_linear_bn(module, params, state)",
}
_PRUNE = (
    "pruning makes masks of params: fn.compression.magnitude_masks (l1_unstructured, global_unstructured), "
    "fn.compression.random_masks (random_unstructured, and with axis= random_structured), "
    "fn.compression.structured_masks (ln_structured); fn.compression.apply_masks (custom_from_mask, remove), "
    "fn.compression.sparsity (is_pruned); "
    "optim.keep_masked holds them while training; no mask is the identity"
)
_PACKED = (
    "a compiled program has one shape, so nothing is packed closer together: pad (nn.utils.rnn.pad_sequence, or "
    "fn.data.pad as a loader's collate) and give recurrent layers lengths=, or "
    "segment_ids= of attention, recurrent layers and norms for what fn.data.pack packed"
)
_FLEX = (
    "F.flex_attention, F.create_block_mask, F.create_mask, F.BlockMask, F.and_masks, F.or_masks, F.noop_mask, "
    "F.AuxRequest, F.AuxOutput; arrays say on which device they are, so that there is no device=, and there are no "
    "kernel options: implementation='plain' or 'blocks' chooses the form"
)
_FORMS = (
    "the form is an argument, implementation='plain', 'chunked' or 'fused' of F.scaled_dot_product_attention; by "
    "default what was measured to be the fastest that serves"
)
_BIAS = (
    "F.scaled_dot_product_attention(..., is_causal=True) is causal_upper_left; another mask is an array, attn_mask=, "
    "or a function of positions in F.flex_attention: causal_lower_right is `lambda b, h, q, k: q + S - L >= k`"
)

OF_UTILITIES: dict[str, dict[str, str]] = {
    "funcnet.nn": {
        "clip_grad_norm_": _CLIP_NORM,
        "clip_grad_value_": _CLIP_VALUE,
        "flex_attention": "F.flex_attention",
    },
    "funcnet.nn.utils": {
        "clip_grad": f"{_CLIP_NORM}; {_CLIP_VALUE}",
        "clip_grad_norm_": _CLIP_NORM,
        "clip_grad_value_": _CLIP_VALUE,
        "clip_grads_with_norm_": _CLIP_KNOWN,
        **dict.fromkeys(
            ("memory_format", "convert_conv2d_weight_memory_format", "convert_conv3d_weight_memory_format"),
            _CHANNELS_LAST,
        ),
        **_FUSE,
        "convert_parameters": "nn.utils.parameters_to_vector, nn.utils.vector_to_parameters",
        **dict.fromkeys(
            ("skip_init", "init"),
            "a description holds no arrays until they are asked for: jax.eval_shape(net.init, key) gives "
            "their shapes alone",
        ),
        "stateless": "fn.functional_call(module, arrays, args) is functional_call; fn.functionalize makes a "
        "model that is always called so",
        "prune": _PRUNE,
        "backcompat": "there is no older form to keep",
    },
    "funcnet.nn.utils.fusion": dict(_FUSE),
    "funcnet.nn.utils.parametrize": {
        "cached": "jax.jit computes what is read twice once",
        "transfer_parametrizations_and_params": "register the same parametrization on the other layer: "
        "nn.utils.parametrize.register_parametrization; params are copied by name",
        "type_before_parametrization": "nn.utils.parametrize.type_before_parametrizations",
    },
    "funcnet.nn.utils.rnn": {
        **dict.fromkeys(
            ("PackedSequence", "pack_padded_sequence", "pad_packed_sequence", "pack_sequence", "unpack_sequence"),
            _PACKED,
        ),
        "invert_permutation": "jnp.argsort(permutation)",
    },
    "funcnet.nn.attention": {
        "flex_attention": _FLEX,
        "bias": _BIAS,
        "varlen": "F.segment_mask keeps packed sequences apart; attention layers take segment_ids=",
        **dict.fromkeys(
            ("SDPBackend", "sdpa_kernel", "WARN_FOR_UNFUSED_KERNELS", "register_flash_attention_impl",
             "activate_flash_attention_impl", "list_flash_attention_impls", "current_flash_attention_impl",
             "restore_flash_attention_impl"),
            _FORMS,
        ),
    },
    "funcnet.functional": {
        **dict.fromkeys(("clip_grad_norm_", "clip_grad_norm"), _CLIP_NORM),
        "FlexKernelOptions": "there are no kernel options: implementation='plain' or 'blocks' of F.flex_attention",
        **dict.fromkeys(("CausalBias", "CausalVariant", "causal_lower_right", "causal_upper_left"), _BIAS),
        "sdpa_kernel": _FORMS,
    },
}  # fmt: skip
