"""What PyTorch's transforms of functions, its automatic differentiation and mixed precision are called here."""

__all__ = ["OF_AUTODIFF"]

_FREE = "gradients are taken only where jax.grad is called; jax.lax.stop_gradient(x) holds one back"
_CUSTOM = "fn.custom_gradient; jax.custom_vjp and jax.custom_jvp"
_RULE = f"{_CUSTOM} take functions: what backward needs is returned, not kept in a context"
_DUAL = "a dual number is a pair: fn.jvp(function, primals, tangents) computes value and derivative"
_ANOMALY = (
    "fn.nan_guard(step) names the first operation whose result is not finite; or jax.config.update('jax_debug_nans', "
    "True)"
)
_GRAPH = "no graph is recorded while a function runs: jax.make_jaxpr(function)(x) shows it"
_SAVED = "what is kept for the backward pass is a policy: fn.remat(function, policy=fn.saving_policy(...))"
_MODE = "no mode is global: what is computed depends on arguments alone"
_PRECISION = "fn.mixed_precision(net)"
_POLICY = "fn.saving_policy, fn.checkpoint_name: which intermediate values are kept"
_REMAT = "fn.remat(function) has no such parts: randomness has keys, which are the same when it computes again"

OF_AUTODIFF: dict[str, dict[str, str]] = {
    "funcnet": {
        # torch.func
        "grad_and_value": "fn.value_and_grad: the value comes first",
        "stack_module_state": "fn.stack([params_1, params_2, ...]), or fn.ensemble(net, n)",
        "replace_all_batch_norm_modules_": "nothing: batch norm's state is an argument and a result, under vmap too",
        "rearrange": "jnp.reshape, jnp.transpose; the package einops takes JAX's arrays",
        "debug_unwrap": "jax.debug.print(\"{{}}\", x) shows values inside transforms",
        # torch.autograd
        "Function": _CUSTOM,
        **dict.fromkeys(("Variable", "variable"), "arrays are differentiated as they are: jax.grad(function)(x)"),
        **dict.fromkeys(("NestedIOFunction", "CheckpointFunction"), _RULE),
        "backward": "grads = fn.grad(loss)(params)",
        **dict.fromkeys(
            ("no_grad", "enable_grad", "inference_mode", "set_grad_enabled", "is_grad_enabled", "grad_mode",
             "is_inference_mode_enabled"),
            _FREE,
        ),
        **dict.fromkeys(
            ("detect_anomaly", "set_detect_anomaly", "set_anomaly_enabled", "is_anomaly_enabled",
             "is_anomaly_check_nan_enabled"),
            _ANOMALY,
        ),
        "gradcheck": "fn.check_grads(function, args, order=1)",
        "gradgradcheck": "fn.check_grads(function, args, order=2)",
        "jacobian": "fn.jacrev, fn.jacfwd",
        **dict.fromkeys(
            ("UnpackedDualTensor", "dual_level", "enter_dual_level", "exit_dual_level", "make_dual", "unpack_dual"),
            _DUAL
        ),
        **dict.fromkeys(("set_multithreading_enabled", "enforce_grad_layout_policy"), _MODE),
        **dict.fromkeys(("Node", "GradientEdge", "get_gradient_edge"), _GRAPH),
        **dict.fromkeys(("saved_tensors_hooks", "disable_saved_tensors_hooks", "region_activation_memory_budget"),
        _SAVED),
        "save_on_cpu": "fn.remat(function, policy=jax.checkpoint_policies.save_and_offload_only_these_names(...))",
        **dict.fromkeys(("allow_mutation_on_saved_tensors", "increment_version"), "arrays are immutable: nothing "
        "saved can change"),
        "register_multi_grad_hook": "gradients are values: change what fn.grad returns",
        **dict.fromkeys(
            ("set_warn_on_accumulate_grad_stream_mismatch", "set_override_stale_capture_stream"),
            "JAX orders what a device does: there are no streams",
        ),
        # torch.utils.checkpoint
        "checkpoint_sequential": "nn.Remat(block) for each block of nn.Sequential; nn.Repeat(block, n, remat=True)",
        **dict.fromkeys(
            ("CheckpointPolicy", "SelectiveCheckpointContext", "create_selective_checkpoint_contexts",
            "SAC_IGNORED_OPS"),
            _POLICY,
        ),
        **dict.fromkeys(
            ("CheckpointError", "DefaultDeviceType", "GraphExecGroup", "check_backward_validity", "detach_variable",
             "get_device_states", "set_device_states", "noop_context_fn", "set_checkpoint_debug_enabled",
             "set_checkpoint_early_stop"),
            _REMAT,
        ),
        **dict.fromkeys(("FlopCounterMode", "register_flop_formula"), "fn.count_operations(net, ...)"),
        # torch.amp
        **dict.fromkeys(("autocast", "is_autocast_enabled"), _PRECISION),
        "is_autocast_available": "always: fn.mixed_precision(net) serves every device",
        "GradScaler": "fn.training.dynamic_loss_scale()",
        **dict.fromkeys(
            ("custom_fwd", "custom_bwd"),
            "a rule's arrays have the dtypes that it was given: x.astype(jnp.float32) in it; `computes_in = "
            "'float32'` of a layer",
        ),
    },
}  # fmt: skip
