"""functionalize: from a module to two pure functions."""

import inspect
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from types import MethodType
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, NoReturn

import jax.numpy as jnp

from funcnet.core.aliases import Apply, Init, Key, Params, State
from funcnet.core.errors import UnboundModuleError
from funcnet.core.keys import is_key
from funcnet.core.paths import join
from funcnet.core.torch_hints import missing_attribute
from funcnet.module.binding.bind import bind_node
from funcnet.module.binding.bound import Binding, OutputObserver
from funcnet.module.binding.unbind import state_of, unbind, unbind_stored, update_state
from funcnet.module.description import Node, is_module, snapshot
from funcnet.module.initial_values.lazy_shapes import learned_specs
from funcnet.module.initialize import draw
from funcnet.module.layout import nested
from funcnet.module.module import Module, binding_of
from funcnet.module.observe import Capture, Edit, Observation
from funcnet.module.precision.policy import PrecisionPolicy
from funcnet.module.sharding.gathering import keeps_no_gathered
from funcnet.module.sharding.initial_parts import draw_in_parts
from funcnet.module.sharding.placement import Placement

__all__ = ["Functional", "functionalize"]


_NEITHER = (
    "a Functional is a pair of functions: write output, state = net.apply(params, state, x), or "
    "params, state = net.init(key); and transform one of them: jax.jit(net.apply)"
)


class Functional(NamedTuple):
    """A model as two pure functions.

    Attributes:
        init: ``init(key, *example_inputs) -> (params, state)``. The inputs are needed only by modules that
            learn shapes from them (``Lazy*``).
        apply: ``apply(params, state, *args, key=None, train=False, **kwargs) -> (output, state)``. A module whose
            call has arguments named ``key`` or ``train`` is given them as well.

    Example:
        >>> net = fn.functionalize(nn.Sequential(nn.Linear(3, 2), nn.Dropout(0.5)))
        >>> params, state = net.init(jax.random.key(0))
        >>> output, state = net.apply(params, state, jnp.ones((5, 3)), key=jax.random.key(1), train=True)
        >>> output.shape
        (5, 2)
    """

    init: Init
    apply: Apply

    def __call__(self, *args: Any, **kwargs: Any) -> NoReturn:
        """Raise: a model is two functions, and this is neither."""
        raise TypeError(_NEITHER)

    if not TYPE_CHECKING:  # a type checker should go on to report names that are missing

        def __getattr__(self, name: str) -> Any:
            """Raise for an attribute that is not there; say what PyTorch's is called here."""
            if name == "__signature__":
                # jax.jit and others ask for it, and would fail later: jax.jit(net) in a second call ends
                # the process, because a tuple cannot be weakly referenced
                raise UnboundModuleError(_NEITHER)
            raise AttributeError(missing_attribute("Functional", "Functional", name))

    @property
    def observable(self) -> "PureModule":
        """The model behind ``apply``; also behind ``jax.jit(apply)`` and other wrappers that say what they wrap.

        Raises:
            TypeError: ``apply`` is a function that does not tell which model it calls.
        """
        inner = getattr(inspect.unwrap(self.apply), "__self__", None)
        if not isinstance(inner, PureModule):
            raise TypeError(
                f"{self.apply!r} is not what fn.functionalize returned, and no __wrapped__ leads there: capture, "
                "intervene and the like first, and wrap the apply that they return"
            )
        return inner

    @property
    def module(self) -> Module:
        """The description that was functionalized."""
        return self.observable.module

    @property
    def placement(self) -> Placement | None:
        """Where the arrays lie on a mesh; None for a model that `parallel.shard` was not given."""
        return self.observable.placement


def functionalize(module: Module | Callable[..., Any]) -> Functional:
    """Turn a module into two pure functions.

    ``apply`` binds the arrays, calls the object, and collects the buffers; nothing else happens. The
    description is read once, here: what is assigned to it afterwards changes nothing in the functions, so
    change the description first, or functionalize it again.

    Args:
        module: a module; a bound method of one (``functionalize(model.decode)``), to call that instead;
            or a module bound by `bind`, for a transform over a part of a model.

    Returns:
        ``Functional(init, apply)``: both work under every transform of JAX.

    Raises:
        TypeError: the argument is not a module or a method of one.
        ModuleDefinitionError: the module cannot become a tree of arrays; the message says why.

    Example:
        >>> net = fn.functionalize(nn.Linear(3, 2))
        >>> params, state = net.init(jax.random.key(0))
        >>> output, state = net.apply(params, state, jnp.ones((5, 3)))
        >>> output.shape, state
        ((5, 2), {})
    """
    owner: Any = module
    method = "__call__"
    if isinstance(module, MethodType):
        owner, method = module.__self__, module.__name__
    if not is_module(owner):
        if isinstance(module, type):
            raise TypeError(
                f"functionalize takes a module, not its class: write functionalize({module.__name__}(...))"
            )
        raise TypeError(
            "functionalize takes a funcnet Module or a bound method of one; got "
            f"{type(module).__name__}. A pure function needs no functionalize"
        )
    defined = {name for base in type(owner).__mro__ for name in vars(base)}
    if method not in defined and "forward" in defined:
        raise TypeError(
            f"{type(owner).__name__} defines no __call__: PyTorch's `forward` is `__call__` here"
        )
    binding = vars(owner).get("_binding")
    node = snapshot(owner) if binding is None else binding.node
    layout = node.layout  # a module that cannot become a tree of arrays is told so here
    placement = precision = None
    if binding is not None and binding.scope.placement is not None:
        placement = binding.scope.placement.within(binding.path, binding.scope.layout, layout)
    if binding is not None and binding.scope.rounding is not None:
        precision = binding.scope.rounding.precision.within(binding.scope.layout, layout)
    pure = PureModule(node, method, around=binding, placement=placement, precision=precision)
    return Functional(pure.init, pure.apply)


@dataclass(frozen=True, eq=False, repr=False)
class PureModule:
    """What stands behind a `Functional`: a snapshot of a description, and which method is the call.

    Attributes:
        node: the snapshot.
        method: the name of the method that is called.
        steps: what `capture` and `intervene` do with the outputs of modules.
        around: the binding of the module, if it is part of a bound one: who observes that sees it too.
        placement: where its arrays lie on a mesh, if `parallel.shard` said so.
        gathers_again: whether layers whose weights are stored in parts gather them once more for the backward
            pass; not where the whole call is computed again anyway.
        precision: in which dtype its modules compute, if `mixed_precision` said so.
    """

    node: Node
    method: str
    steps: tuple[Capture | Edit, ...] = ()
    around: Binding | None = None
    placement: Placement | None = None
    gathers_again: bool = True
    precision: PrecisionPolicy | None = None

    def __repr__(self) -> str:
        """Show in a line what JAX's messages name: ``<bound method PureModule.apply of PureModule(MLP)>``."""
        return f"PureModule({type(self.module).__name__})"

    @property
    def module(self) -> Module:
        """The description."""
        return self.node.value

    @cached_property
    def own_arguments(self) -> frozenset[str]:
        """Which of apply's own keywords the call has arguments of the same name for."""
        call = getattr(type(self.module), self.method)
        return APPLYS_OWN & inspect.signature(call).parameters.keys()

    def followed_by(self, step: Capture | Edit) -> "PureModule":
        """Return the same model with one more step."""
        return replace(self, steps=(*self.steps, step))

    def init(self, key: Key | None = None, /, *inputs: Any, **kwargs: Any) -> tuple[Params, State]:
        """Draw initial params and state.

        Args:
            key: a random key, such as ``jax.random.key(0)``, which must be given; each parameter's own is folded
                from its path.
            *inputs: example inputs, arrays or shapes (``jax.ShapeDtypeStruct``), for modules that learn
                shapes from them (``Lazy*``); others need none.
            **kwargs: likewise, by name.

        Returns:
            ``(params, state)``: what is trained, and what layers remember; nested dicts of arrays.
        """
        if key is None or not is_key(key):
            got = "none" if key is None else type(key).__name__
            raise TypeError(
                f"init takes a random key: params, state = net.init(jax.random.key(0)); got {got}"
            )
        layout = self.node.layout
        specs = layout.specs
        if layout.incomplete:
            specs = specs | learned_specs(self.node, self.method, inputs, kwargs)
        if self.placement is None:
            drawn = draw(layout, specs, key)
        else:
            drawn = draw_in_parts(layout, specs, key, self.placement)
        arrays = {id(spec): drawn[path] for path, spec in layout.specs.items()}
        return nested(layout.params_tree, arrays), nested(layout.state_tree, arrays)

    def apply(
        self,
        params: Params,
        state: State,
        /,
        *args: Any,
        key: Key | None = None,
        train: bool = False,
        **kwargs: Any,
    ) -> tuple[Any, State]:
        """Call the module with these arrays; return its output, and the state after the call.

        Args:
            params: nested dicts of arrays, from ``init`` or a file: what is trained.
            state: likewise, what layers remember, such as batch norm's running statistics.
            *args: handed on to the module's call.
            key: a random key for layers that draw (dropout); a fresh one each step.
            train: whether to train: dropout drops, batch norm uses the batch. Evaluation is the default.
            **kwargs: handed on to the module's call. One whose call has arguments named ``key`` or ``train``
                is given those above.

        Returns:
            ``(output, state)``.

        Raises:
            ParameterTreeError: ``params`` or ``state`` does not fit the module.
            MissingKeyError: a layer draws random numbers, and there is no ``key``.
        """
        if self.placement is not None and self.around is None:
            params, state = self.placement.kept(params), self.placement.kept(state)
        if not self.steps:
            seen_by = _seen_by(self.around)
            return self.apply_observed(
                seen_by, params, state, *args, key=key, train=train, **kwargs
            )
        observer = Observation(self.steps, self.node.layout)
        output, state = self.apply_observed(
            observer, params, state, *args, key=key, train=train, **kwargs
        )
        observer.check_met()
        for number, step in enumerate(self.steps):
            if isinstance(step, Capture):
                output = (output, observer.captured(number))
        return output, state

    def apply_observed(
        self,
        observer: OutputObserver | None,
        params: Params,
        state: State,
        /,
        *args: Any,
        key: Key | None = None,
        train: bool = False,
        **kwargs: Any,
    ) -> tuple[Any, State]:
        """Apply with an observer of every module's output: ``observer(path, module, output) -> output``."""
        if self.own_arguments:
            key = self._give_own(args, kwargs, key, train)
        bound = bind_node(
            self.node, params, state, key=key, train=train, observer=observer,
            placement=self.placement, again=self.gathers_again, precision=self.precision,
        )  # fmt: skip
        rounding = binding_of(bound, "is called").scope.rounding
        if rounding is not None and self.method != "__call__":
            args, kwargs = rounding.given("", (args, kwargs))
        output, left = getattr(bound, self.method)(*args, **kwargs), state_of(bound)
        if rounding is not None:
            output = rounding.finished(output)
        if self.placement is not None and self.around is None:
            left = self.placement.kept(left)
        return output, left

    def _give_own(self, args: Any, kwargs: dict[str, Any], key: Any, train: bool) -> Any:
        """Hand ``key`` and ``train`` to a call that has arguments of these names; return the random key."""
        signature = inspect.signature(getattr(type(self.module), self.method))
        filled = list(signature.parameters)[1 : 1 + len(args)]  # the first is self
        if "train" in self.own_arguments and "train" not in filled:
            kwargs["train"] = train
        if "key" in self.own_arguments and "key" not in filled and key is not None:
            kwargs["key"] = key
            return key if is_key(key) else None
        return key


APPLYS_OWN = frozenset({"key", "train"})
"""Keywords of `PureModule.apply`; a call that has arguments of these names is given them too."""


def _seen_by(around: Binding | None) -> OutputObserver | None:
    """Return who sees the modules of a part that is applied on its own, under their paths in the whole."""
    observer = None if around is None else around.scope.observer
    if around is None or observer is None:
        return None
    if isinstance(observer, Observation):
        return observer.within(around)
    return lambda path, module, output: observer(join(around.path, path), module, output)


Gather = Literal["call", "region", "before"]
"""Where a part gathers weights that are stored in parts; see `TransformedPart`."""


class TransformedPart:
    """A part of a bound module as a pure function, for a wrapper that runs it under a transform.

    What `TransformScopeError` describes, and besides: outputs that `capture` asked for leave the transform as
    outputs of its own.

    Args:
        part: a bound module.
        copies: how many copies the transform runs, where each has arrays of its own.
        gather: where weights that are stored in parts are gathered: ``"call"``, as each layer is called, and once
            more for its backward pass; ``"region"``, as the part begins, which a wrapper has computed again anyway;
            ``"before"`` the transform, which then repeats no communication.

    Attributes:
        params: what the part holds now.
        state: likewise.
        indices: the numbers of the copies, for the transform to run over, if anybody asked for them.
    """

    def __init__(self, part: Module, copies: int | None = None, *, gather: Gather = "call") -> None:
        self.part = part
        self.copies = copies
        self.params, self.state = (unbind if gather == "before" else unbind_stored)(part)
        net = functionalize(part).observable
        if net.placement is not None and gather == "before":
            net = replace(net, placement=net.placement.gathered_before(net.node.layout))
        self.net = replace(net, gathers_again=gather == "call")
        self.binding = binding_of(part, "runs under a transform")
        observer = self.binding.scope.observer
        if isinstance(observer, Observation) and not observer.wants(self.binding.path):
            observer = None
        self.observer = observer
        watched = copies is not None and isinstance(observer, Observation)
        self.indices = jnp.arange(copies) if watched else None
        self.region: OutputObserver | None = None

    def __call__(
        self, params: Params, state: State, key: Key | None, index: Any, *args: Any, **kwargs: Any
    ) -> tuple[Any, tuple[State, Any]]:
        """Apply the part; return its output, and with the state what observers asked for."""
        if isinstance(self.observer, Observation):
            region = self.observer.region(self.binding.path, index, self.copies)
        else:
            region = None if self.observer is None else _seen_by(self.binding)
        self.region = region
        train = self.binding.scope.train
        output, state = self.net.apply_observed(
            region, params, state, *args, key=key, train=train, **kwargs
        )
        return output, (state, region.seen if isinstance(region, Observation) else {})

    def policy(self, keeps: Callable[..., bool] | None) -> Callable[..., bool] | None:
        """Return a policy of `jax.checkpoint` that keeps no weights that the part gathers; None stays None."""
        placement = self.net.placement
        if keeps is None or placement is None or not placement.spread:
            return keeps
        return keeps_no_gathered(keeps, placement.spread.values())

    def finish(self, state: State, seen: Any) -> None:
        """Put back the state that the transform left, and hand on what was seen."""
        update_state(self.part, state)
        if isinstance(self.observer, Observation) and isinstance(self.region, Observation):
            self.observer.take(self.region, seen)
