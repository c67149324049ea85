"""Error classes whose docstrings say how to mend what the message reports.

Each subclasses the built-in that a PyTorch or NumPy user would expect to catch.
"""

__all__ = [
    "BoundAssignmentError",
    "ExportError",
    "MissingKeyError",
    "ModuleDefinitionError",
    "NonFiniteError",
    "ParameterTreeError",
    "RetraceError",
    "ShapeMismatchError",
    "StateDictError",
    "TransformScopeError",
    "TreeMismatchError",
    "UnboundModuleError",
]


class UnboundModuleError(RuntimeError):
    """A module was used before it held arrays.

    A module right after construction is a description: it has shapes, not values. Wrong::

        layer = nn.Linear(3, 4)
        layer(x)

    Right, as pure functions::

        net = fn.functionalize(layer)
        params, state = net.init(jax.random.key(0))
        output, state = net.apply(params, state, x)

    Right, as an ordinary object that holds its arrays::

        model = fn.bind(layer, params, state)
        output = model(x)
    """


class MissingKeyError(ValueError):
    """A layer needed randomness and ``apply`` had been given no key.

    Randomness is an argument: the same key gives the same numbers. Pass one a step::

        output, state = net.apply(params, state, x, key=jax.random.fold_in(key, step), train=True)
    """


class TransformScopeError(RuntimeError):
    """A buffer was assigned, or a key drawn, inside a transform opened within ``__call__``.

    The body of ``jax.vmap``, ``lax.scan``, ``lax.cond``, ``jax.grad``, ``jax.checkpoint`` or
    ``jax.jit`` runs once for many values: an assignment in it would leak a traced value, and a key
    drawn in it would be the same for each of them. Lift the part of the model that the transform
    runs into a pure function and thread state and keys through by hand. Wrong::

        def __call__(self, xs):
            return jax.vmap(self.block)(xs)          # the block draws keys, updates buffers

    Right::

        def __call__(self, xs):
            block = fn.functionalize(self.block)
            params, state = fn.unbind(self.block)
            keys = jax.random.split(self.next_key(), len(xs))

            def one(x, key):
                return block.apply(params, state, x, key=key, train=self.training)

            ys, states = jax.vmap(one)(xs, keys)
            ...                                      # states: one for each of xs; choose or average
    """


class BoundAssignmentError(AttributeError):
    """A bound module was given an attribute that ``apply`` would silently drop.

    Only buffers change during a call; ``apply`` returns their new values. Declare what should be
    remembered in ``__init__``, then assign it::

        self.count = Buffer((), nn.init.zeros(), dtype=jnp.int32)    # in __init__
        self.count = self.count + 1                                  # in __call__

    To change a parameter, change the tree: ``params["head"]["weight"] = new`` before ``apply``.
    """


class ModuleDefinitionError(TypeError):
    """A module was declared in a way that cannot become a tree of parameters.

    Examples: an attribute named like a part of the ``Module`` API (``training``, ``next_key``), a
    dotted or non-string key in a dict of modules, a parameter inside a set.
    """


class ParameterTreeError(KeyError):
    """The trees given to ``bind`` or ``apply`` lack entries of the module, or have others.

    The message lists every missing and unexpected dotted path. The trees come from
    ``net.init(key)`` or ``fn.load_state_dict(module, mapping)`` of a module built with the same
    arguments.
    """

    def __str__(self) -> str:
        """Show the message as written; ``KeyError`` would quote and escape it."""
        return str(self.args[0]) if self.args else ""


class StateDictError(ParameterTreeError):
    """A mapping given to ``load_state_dict`` does not fit the module.

    The message lists all missing and unexpected names and every shape that differs. With
    ``strict=False`` names may be missing or left over; shapes must always fit.
    """


class TreeMismatchError(ParameterTreeError):
    """A saved tree does not fit the template that ``checkpoint.load`` was given.

    The message lists every leaf that is missing from the file, that the template does not have, or that
    has another shape or dtype. The template is a tree built as the saved one was; its values do not
    matter. Where they are meant to differ::

        run = fn.checkpoint.load(path, like=run, strict=False)    # take what fits, warn of the rest
        run = fn.checkpoint.load(path, like=run, dtype="like")    # cast to the template's dtypes
        tree = fn.checkpoint.load(path)                           # as it was saved, without a template
    """


class ShapeMismatchError(ValueError):
    """An array does not have the shape that the module declares for it.

    A leading axis too many usually means parameters of several models stacked together: use
    ``jax.vmap`` over ``apply``.
    """


class RetraceError(RuntimeError):
    """A function compiled with ``max_traces`` would have been traced once too often.

    Each new shape, dtype, static value or tree structure among the arguments compiles the function
    again. The message names the arguments that differ from the most similar earlier trace. Make
    them alike:

    - a last, smaller batch: ``drop_last=True`` in the loader, or pad it;
    - a Python number in one call and an array in another (a weak type): pass ``jnp.asarray(x)``;
    - a static argument that changes: pass it as an array, or raise ``max_traces`` on purpose;
    - an entry that appears in a dict on some calls only: always pass it.
    """


class NonFiniteError(FloatingPointError):
    """A step guarded by ``nan_guard`` returned NaN or infinity.

    The message names the first operation whose result was not finite although its operands were:
    the module's path, forward or backward pass, and the line of source. Raised from inside a
    compiled program, it arrives as a ``jax.errors.JaxRuntimeError`` that ends with this message.
    Usual causes: a learning rate too high, the logarithm or square root of zero, a row of attention
    scores that is masked out whole, 16-bit overflow without loss scaling.
    """


class ExportError(ValueError):
    """A function cannot be handed to a target, or what was handed over does not compute the same there.

    The message names each operation, the module that asked for it and its line. Nothing was written.
    """
