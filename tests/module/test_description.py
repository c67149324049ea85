"""The walk over a description: what is found, what is refused, what a snapshot keeps, what it costs."""

import copy
import functools
import pickle
import sys
import types
from collections import OrderedDict, deque, namedtuple
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import funcnet as fn
from funcnet.core import errors
from funcnet.core.paths import flatten
from tests.module.models import Counter, Dense, Nest, Tied, built, normal, zeros

pytestmark = pytest.mark.smoke


class Holder(fn.Module):
    def __init__(self, held):
        self.held = held

    def __call__(self, x):
        return x


Pair = namedtuple("Pair", "first second")


@pytest.mark.parametrize(
    ("held", "names"),
    [
        ([Dense(1, 1)], ["held.0"]),
        ((Dense(1, 1), 3), ["held.0"]),
        (Pair(Dense(1, 1), Dense(1, 1)), ["held.0", "held.1"]),
        ({"a": [Dense(1, 1)]}, ["held.a.0"]),
        (OrderedDict(b=Dense(1, 1)), ["held.b"]),
        ([[(Dense(1, 1),)]], ["held.0.0.0"]),
    ],
    ids=str,
)
def test_modules_are_found_in_containers_which_keep_their_types(held, names):
    module = Holder(held)
    _, params, state = built(module)
    assert sorted({path.rpartition(".")[0] for path in flatten(params)}) == names
    bound = fn.bind(module, params, state)
    assert type(bound.held) is type(held)
    assert len(bound.held) == len(held)


@dataclass
class Config:
    layer: fn.Module
    width: int = 3


class Slotted:
    __slots__ = ("layer",)

    def __init__(self, layer):
        self.layer = layer


def _object_array(value):
    array = np.empty(2, object)
    array[1] = value
    return array


HIDING = {
    "deque": lambda m: deque([m]),
    "set": lambda m: {m},
    "dataclass": Config,
    "namespace": lambda m: types.SimpleNamespace(a=types.SimpleNamespace(b=m)),
    "partial": lambda m: functools.partial(lambda layer, x: x, m),
    "object array": _object_array,
    "slots": Slotted,
    "mapping": lambda m: types.MappingProxyType({"a": m}),
    "in a list": lambda m: [1, deque([m])],
}


@pytest.mark.parametrize("hide", HIDING.values(), ids=HIDING.keys())
@pytest.mark.parametrize("part", [lambda: Dense(1, 1), lambda: fn.Parameter((2,), zeros)])
def test_hidden_parts_are_named_and_refused(hide, part):
    module = Holder(hide(part()))
    with pytest.raises(
        errors.ModuleDefinitionError, match=r"held.* that holds a (Dense|Parameter)"
    ):
        fn.functionalize(module)


@pytest.mark.parametrize(
    "held",
    [
        deque([1, 2]),
        {1, 2},
        functools.partial(max, 3),
        np.ones(3),
        jnp.ones(3),
        np.array([None, "a"], object),
        types.SimpleNamespace(rate=0.1),
        jnp.tanh,
        "text",
        {3: "static keys may be anything"},
        fn.functionalize(Dense(1, 1)),
    ],
    ids=lambda held: type(held).__name__,
)
def test_static_values_may_be_anything(held):
    net, params, state = built(Holder(held))
    assert params == state == {}
    assert net.apply(params, state, 3)[0] == 3


def test_parts_of_a_class_are_refused_unless_the_instance_has_its_own():
    class Shared(fn.Module):
        layer = Dense(2, 2)

    with pytest.raises(errors.ModuleDefinitionError, match=r"assign self\.layer in __init__"):
        fn.functionalize(Shared())
    own = Shared()
    own.layer = Dense(3, 3)
    assert built(own)[1]["layer"]["weight"].shape == (3, 3)


def test_names_with_dots_are_refused():
    module = Holder([Dense(1, 1)])
    setattr(module, "held.0", Dense(2, 2))
    with pytest.raises(errors.ModuleDefinitionError, match="dots"):
        fn.functionalize(module)
    setattr(module, "held.0", "static")
    fn.functionalize(module)


def test_slots_are_refused_where_they_are_declared():
    with pytest.raises(errors.ModuleDefinitionError, match="__slots__"):

        class _(fn.Module):
            __slots__ = ("layer",)


def test_a_declared_array_cannot_stop_being_one_by_assignment():
    module = Dense(3, 2)
    with pytest.raises(TypeError, match=r"Dense\.weight is a Parameter.*fn\.Parameter\(array\)"):
        module.weight = jnp.zeros((2, 4))
    with pytest.raises(TypeError, match=r"Counter\.calls is a Buffer"):
        Counter().calls = 0
    module.weight = fn.Parameter(jnp.full((2, 3), 0.5))
    module.bias = None
    _, params, _ = built(module)
    assert params["weight"].tolist() == [[0.5] * 3] * 2
    assert "bias" not in params


def test_declarations_that_start_from_an_array():
    class Table(fn.Module):
        def __init__(self):
            self.a = fn.Parameter(np.arange(3, dtype=np.int32))
            self.b = fn.Buffer(jnp.ones((2, 2), jnp.bfloat16))
            self.c = fn.Parameter(2.5)
            self.d = fn.Parameter(np.ones(2), dtype=jnp.float16)

        def __call__(self):
            return self.c

    _, params, state = built(Table())
    assert (params["a"].dtype, params["a"].tolist()) == (jnp.int32, [0, 1, 2])
    assert (state["b"].dtype, state["b"].shape) == (jnp.bfloat16, (2, 2))
    assert (params["c"].dtype, float(params["c"])) == (jnp.float32, 2.5)
    assert params["d"].dtype == jnp.float16
    for shape in ((3, 4), 3, "text"):
        with pytest.raises(TypeError, match="takes a shape and an initializer"):
            fn.Parameter(shape)


class Average(fn.Buffer):
    """A buffer with a name of its own."""

    __slots__ = ()


class Frozen(fn.Parameter):
    __slots__ = ()


def test_classes_of_declarations_stay_what_they_are():
    class Net(fn.Module):
        def __init__(self):
            self.mean = Average((), zeros)
            self.scale = Frozen((), normal)

        def __call__(self, x):
            self.mean = self.mean + x
            return x * self.scale

    net, params, state = built(Net())
    assert (list(params), list(state)) == (["scale"], ["mean"])
    assert float(net.apply(params, state, 2.0)[1]["mean"]) == 2.0


def test_functions_keep_the_description_they_were_made_of():
    module = Nest()
    net, params, state = built(module)
    expected = net.apply(params, state, jnp.ones(3))[0]
    before = jax.tree.structure(net.init(jax.random.key(0)))
    module.layers.append(Dense(7, 7))
    module.heads = {}
    module.layers[0].bias = None
    assert jax.tree.structure(net.init(jax.random.key(0))) == before
    output = net.apply(params, state, jnp.ones(3))[0]
    np.testing.assert_array_equal(output["left"], expected["left"])
    assert "heads" not in fn.functionalize(module).init(jax.random.key(0))[0]


def test_what_a_call_appends_stays_in_the_call():
    class Logs(fn.Module):
        def __init__(self):
            self.seen = []
            self.sizes = {"a": [1]}

        def __call__(self, x):
            self.seen.append(x)
            self.sizes["a"].append(x)
            return x + len(self.seen)

    module = Logs()
    net = fn.functionalize(module)
    for _ in range(2):
        assert float(jax.jit(lambda x: net.apply({}, {}, x)[0])(1.0)) == 2.0
    assert module.seen == []
    assert module.sizes == {"a": [1]}


def test_copies_of_bound_modules_stay_tied():
    class Twice(fn.Module):
        def __init__(self):
            self.a, self.b = Counter(), Counter()
            self.b.calls = self.a.calls
            self.tied = Tied()

        def __call__(self, x):
            return self.tied(self.b(self.a(x)))

    module = Twice()
    _, params, state = built(module)
    for key in (None, jax.random.key(3), jax.random.PRNGKey(3)):
        bound = fn.bind(module, params, state, key=key, train=True)
        for again in (copy.deepcopy(bound), copy.copy(bound)):
            again(jnp.ones(4))
            assert int(again.a.calls) == int(again.b.calls) == 2
            assert again.tied.decoder.weight is again.tied.encoder.weight
            assert again.training
    assert int(bound.a.calls) == 0


MODULE = Nest()


def test_bound_modules_and_functions_are_pickled():
    net, params, state = built(MODULE)
    bound = fn.bind(MODULE, params, state, key=jax.random.key(1), train=True)
    again = pickle.loads(pickle.dumps(bound))
    np.testing.assert_array_equal(again(jnp.ones(3))["left"], bound(jnp.ones(3))["left"])
    assert int(again.counter.calls) == 1
    apply = pickle.loads(pickle.dumps(net)).apply
    np.testing.assert_array_equal(
        apply(params, state, jnp.ones(3))[0]["right"],
        net.apply(params, state, jnp.ones(3))[0]["right"],
    )


def _calls(function):
    """Count the Python calls inside funcnet."""
    count = 0

    def profile(frame, event, argument):
        nonlocal count
        count += event == "call" and "funcnet" in frame.f_globals.get("__name__", "")

    function()
    sys.setprofile(profile)
    try:
        function()
    finally:
        sys.setprofile(None)
    return count


def test_a_call_of_a_model_costs_few_python_calls():
    nn = fn.nn
    net, params, state = built(nn.Sequential(*[nn.Linear(4, 4) for _ in range(50)]))
    # 8 a layer for the module system and 14 for the checks of `F.linear`; 230 before descriptions were read once
    assert _calls(lambda: net.apply(params, state, jnp.ones(4))) <= 1250
    one, params, state = built(nn.Linear(4, 4))
    bound = fn.bind(nn.Linear(4, 4), params, state)
    extra = _calls(lambda: one.apply(params, state, jnp.ones(4))) - _calls(
        lambda: bound(jnp.ones(4))
    )
    assert extra <= 16
