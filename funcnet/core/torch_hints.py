"""What to write instead of the methods that PyTorch's modules have and funcnet's do not."""

__all__ = ["missing_attribute"]

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

INSTEAD = {
    "forward": f"the call is `__call__`: define that, and write {_APPLY}",
    "parameters": f"{_PARAMS}; jax.tree.leaves(params) lists them",
    "named_parameters": _PATHS,
    "buffers": _PARAMS,
    "named_buffers": _PATHS,
    "train": _MODE,
    "eval": _MODE,
    "to": _ARRAYS,
    "cuda": _ARRAYS,
    "cpu": _ARRAYS,
    "float": _ARRAYS,
    "double": _ARRAYS,
    "half": _ARRAYS,
    "bfloat16": _ARRAYS,
    "requires_grad_": "differentiate with respect to what is trained: fn.value_and_grad(loss, wrt='head.*')",
    "zero_grad": "gradients are returned, not accumulated: grads = jax.grad(loss)(params)",
    "state_dict": "fn.state_dict(module, params, state)",
    "load_state_dict": "params, state = fn.load_state_dict(module, mapping)",
    "register_buffer": "self.name = fn.Buffer(shape, nn.init.zeros()) in __init__",
    "register_parameter": "self.name = fn.Parameter(shape, nn.init.normal()) in __init__",
    "add_module": "assign the module to an attribute: self.name = module, or setattr(self, name, module)",
    "apply": f"{_APPLY}; initializers belong to each Parameter",
    "register_forward_hook": "fn.capture(net, 'path.*') returns what parts of a model return; fn.intervene replaces it",
}


def missing_attribute(owner: str, name: str) -> str:
    """Say that an attribute is missing, and what to write where PyTorch has one of that name."""
    message = f"{owner!r} object has no attribute {name!r}"
    return f"{message}. In funcnet: {INSTEAD[name]}" if name in INSTEAD else message
