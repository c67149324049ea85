"""What modules, functional models and optimizers are asked for, as PyTorch has it.

Keys are the kinds of objects, then the names of attributes.
"""

__all__ = ["OF_OBJECTS", "REFUSED"]

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
_GRADS = "gradients are returned, not accumulated: grads = jax.grad(loss)(params)"
_HOOK = "fn.capture(net, 'path.*') returns what parts of a model return; fn.intervene replaces it"
_EXTRA = "what a model remembers is a Buffer, and so in state; anything else is saved beside it"
_STATE_HOOK = "change the dict itself: fn.state_dict(module, params, state) returns it"

OF_OBJECTS: dict[str, dict[str, str]] = {
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
}  # fmt: skip

REFUSED = {
    "inplace": "arrays are immutable, so there is nothing to do in place: leave it out",
    "device": "device belongs to the arrays: jax.jit(net.init, ...) or jax.device_put(params, device); leave it out",
    "requires_grad": "differentiate with respect to what is trained: fn.value_and_grad(loss, wrt='head.*'); what is "
    "never trained is a Buffer",
}
