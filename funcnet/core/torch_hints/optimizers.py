"""What the packages of optimizers and of schedules are asked for, as PyTorch has it."""

__all__ = ["OF_OPTIMIZERS"]

_AVERAGE = (
    "optim.average(optimizer, 0.999) keeps an exponential average of the parameters beside an optimizer, "
    "optim.average(optimizer, None, start=..., every=...) their mean"
)
_UPDATE = "state = fn.training.update_batch_norm(net, params, state, batches)"
_SWA = (
    f"{_AVERAGE} (AveragedModel, get_ema_avg_fn, get_ema_multi_avg_fn, get_swa_avg_fn, get_swa_multi_avg_fn); "
    f"optim.schedules.swa (SWALR); {_UPDATE} (update_bn)"
)


OF_OPTIMIZERS: dict[str, dict[str, str]] = {
    "funcnet.optim": {
        "lr_scheduler": "a schedule is given in place of a number: optim.adamw(optim.schedules.cosine(1e-3, steps))",
        "Optimizer": "an optimizer is a pair (init, update): optim.from_rule makes one of a formula for one array",
        "swa_utils": _SWA,
        "swap_in_optimizer_params_and_state": "params and opt_state are values: assign the others",
        **dict.fromkeys(
            ("AveragedModel", "get_ema_avg_fn", "get_ema_multi_avg_fn", "get_swa_avg_fn", "get_swa_multi_avg_fn"),
            _AVERAGE,
        ),
        "SWALR": "optim.schedules.swa(lr, swa_lr, anneal_epochs)",
        "update_bn": _UPDATE,
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
        "SWALR": "optim.schedules.swa(lr, swa_lr, anneal_epochs)",
        "LRScheduler": "a schedule is a function of the step: `lambda step: 0.1 * 0.5**step`",
    },
}  # fmt: skip
