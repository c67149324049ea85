"""Every mistake is met where it is made, by an error that names the attribute and the way out."""

import re

import jax
import jax.numpy as jnp
import pytest

import funcnet as fn
from funcnet.core import errors
from tests.module.models import Counter, Dense, Nest, Noise, built, zeros

pytestmark = pytest.mark.smoke


def test_calling_a_description():
    with pytest.raises(errors.UnboundModuleError, match="functionalize"):
        Dense(3, 2)(jnp.ones(3))
    with pytest.raises(errors.UnboundModuleError, match="training"):
        Noise()(jnp.ones(3))


def test_a_module_without_arrays_may_be_called_directly():
    class Double(fn.Module):
        def __call__(self, x):
            return 2 * x

    assert Double()(3) == 6


@pytest.mark.parametrize(
    "use",
    [
        lambda w: w @ jnp.ones(3),
        lambda w: jnp.ones((1, 2)) @ w,
        lambda w: w.T,
        lambda w: w[0],
        lambda w: 2 * w,
        lambda w: -w,
    ],
)
def test_computing_with_a_declared_array(use):
    with pytest.raises(errors.UnboundModuleError, match="no value yet"):
        use(Dense(3, 2).weight)


def test_a_missing_key_names_the_layer():
    net, params, state = built(Nest())
    with pytest.raises(errors.MissingKeyError, match=r"layers\.1\.1 \(Noise\)"):
        net.apply(params, state, jnp.ones(3), train=True)


class Inside(fn.Module):
    """Runs a part within a transform."""

    def __init__(self, part, transform):
        self.part = part
        self.transform = transform

    def __call__(self, x):
        return self.transform(self.part, x)


TRANSFORMS = {
    "vmap": lambda f, x: jax.vmap(lambda y: f(y))(x),
    "scan": lambda f, x: jax.lax.scan(lambda c, y: (c, f(y)), 0.0, x)[1],
    "cond": lambda f, x: jax.lax.cond(x.sum() > 0, lambda y: f(y), lambda y: y, x),
    "grad": lambda f, x: jax.grad(lambda y: f(y).sum())(x),
    "checkpoint": lambda f, x: jax.checkpoint(lambda y: f(y))(x),
    "jit": lambda f, x: jax.jit(lambda y: f(y))(x),
    "while": lambda f, x: jax.lax.while_loop(lambda y: y.sum() < 0, lambda y: f(y), x),
}


@pytest.mark.parametrize("transform", TRANSFORMS.values(), ids=TRANSFORMS.keys())
@pytest.mark.parametrize(("part", "name"), [(Counter, r"part\.calls"), (Noise, "part")])
@pytest.mark.parametrize("jit", [False, True])
def test_buffers_and_keys_inside_a_transform(part, name, transform, jit):
    net, params, state = built(Inside(part(), transform))
    apply = lambda p, s: net.apply(p, s, jnp.ones(3), key=jax.random.key(0), train=True)
    with pytest.raises(
        errors.TransformScopeError, match=rf"{name}(.|\n)*functionalize\(self\.part\)"
    ):
        (jax.jit(apply) if jit else apply)(params, state)


def test_reading_inside_a_transform_is_fine():
    net, params, state = built(Inside(Dense(3, 3), lambda f, x: jax.vmap(lambda y: f(y))(x)))
    assert net.apply(params, state, jnp.ones((5, 3)), train=True)[0].shape == (5, 3)


def test_a_model_bound_outside_jit_and_called_within():
    model = fn.bind(Counter(), {}, {"calls": jnp.zeros((), jnp.int32)})
    with pytest.raises(errors.TransformScopeError, match="calls"):
        jax.jit(lambda x: model(x))(jnp.ones(2))


@pytest.mark.parametrize("attribute", ["training", "next_key"])
def test_attributes_that_shadow_the_api(attribute):
    class Shadow(fn.Module):
        def __init__(self):
            setattr(self, attribute, 1)

    with pytest.raises(errors.ModuleDefinitionError, match=attribute):
        Shadow()
    with pytest.raises(errors.ModuleDefinitionError, match=attribute):
        type("Shadow", (fn.Module,), {attribute: 1})


def test_assignments_that_would_be_lost():
    class Careless(fn.Module):
        def __init__(self, name):
            self.name = name
            self.weight = fn.Parameter((2,), zeros)

        def __call__(self, x):
            setattr(self, self.name, x)
            return x

    for name, hint in (("hidden", "Buffer"), ("weight", "params")):
        net, params, state = built(Careless(name))
        with pytest.raises(errors.BoundAssignmentError, match=rf"{name} (.|\n)*{hint}"):
            net.apply(params, state, jnp.ones(2))


def test_a_buffer_of_another_shape_or_kind():
    _, params, state = built(Counter())
    model = fn.bind(Counter(), params, state)
    with pytest.raises(errors.ShapeMismatchError, match=r"calls has shape \(\).*\(3,\)"):
        model.calls = jnp.ones(3)
    with pytest.raises(TypeError, match="takes an array"):
        model.calls = "three"
    with pytest.raises(errors.BoundAssignmentError):
        del model.calls


@pytest.mark.parametrize(
    ("dtype", "value"), [(jnp.int32, 0.9), (jnp.int32, 1j), (jnp.float32, 1j), (bool, 0.5)]
)
def test_a_buffer_does_not_lose_what_it_is_assigned(dtype, value):
    class Holder(fn.Module):
        def __init__(self):
            self.held = fn.Buffer((), zeros, dtype)

    model = fn.bind(Holder(), {}, {"held": jnp.zeros((), dtype)})
    with pytest.raises(TypeError, match=rf"held has dtype {jnp.dtype(dtype).name} and would lose"):
        model.held = jnp.asarray(value)
    model.held = jnp.ones((), jnp.int8)
    assert model.held.dtype == dtype


def test_halves_of_a_partition_are_put_together_first():
    net, params, state = built(Nest())
    trained, frozen = fn.partition(params, "heads.*")
    with pytest.raises(errors.ParameterTreeError, match=r"None in place of .*fn\.merge"):
        net.apply(trained, state, jnp.ones(3))
    net.apply(fn.merge(trained, frozen), state, jnp.ones(3))
    net.apply({**params, "unused": None}, state, jnp.ones(3))


def test_trees_that_do_not_fit_list_every_path():
    net, params, state = built(Nest())
    broken = {**params, "extra": {"weight": jnp.ones(1)}}
    del broken["heads"]
    with pytest.raises(errors.ParameterTreeError) as caught:
        net.apply(broken, state, jnp.ones(3))
    for path in ("heads.left.weight", "heads.right.bias", "extra.weight"):
        assert path in str(caught.value)
    with pytest.raises(errors.ParameterTreeError, match=r"counter\.calls"):
        net.apply(params, {}, jnp.ones(3))
    with pytest.raises(TypeError, match="params must be nested dicts"):
        net.apply(jnp.ones(3), state, jnp.ones(3))


def test_a_shape_that_does_not_fit_names_the_path_and_both_shapes():
    net, params, state = built(Dense(3, 2))
    with pytest.raises(errors.ShapeMismatchError, match=r"weight has shape \(2, 4\).*\(2, 3\)"):
        net.apply({**params, "weight": jnp.ones((2, 4))}, state, jnp.ones(3))
    stacked = jax.vmap(net.init)(jax.random.split(jax.random.key(0), 3))
    with pytest.raises(errors.ShapeMismatchError, match="vmap"):
        net.apply(*stacked, jnp.ones(3))


def test_a_shape_error_inside_a_layer_names_the_layer():
    net, params, state = built(Nest())
    with pytest.raises(TypeError) as caught:
        net.apply(params, state, jnp.ones(4))
    assert any("layers.0 (Dense)" in note for note in caught.value.__notes__)


def test_arguments_of_the_wrong_kind():
    net, params, state = built(Dense(3, 2))
    with pytest.raises(TypeError, match="random key"):
        net.init(0)
    with pytest.raises(TypeError, match="random key"):
        net.apply(params, state, jnp.ones(3), key=jnp.ones(3))
    with pytest.raises(TypeError, match="train must be True or False"):
        jax.jit(lambda t: net.apply(params, state, jnp.ones(3), train=t))(True)
    with pytest.raises(TypeError, match=r"functionalize\(Dense\(\.\.\.\)\)"):
        fn.functionalize(Dense)
    with pytest.raises(TypeError, match="Module or a bound method"):
        fn.functionalize(jnp.sin)
    with pytest.raises(errors.UnboundModuleError, match="unbind"):
        fn.unbind(Dense(3, 2))
    with pytest.raises(TypeError, match="init must be a function"):
        fn.Parameter((3,), 0.5)
    with pytest.raises(TypeError, match=r"made by a call: nn\.init\.normal\(\.\.\.\)"):
        fn.Parameter((3,), fn.nn.init.normal)
    with pytest.raises(ValueError, match="negative"):
        fn.Parameter((-3,), zeros)


def test_definitions_that_cannot_become_a_tree():
    class Holder(fn.Module):
        def __init__(self, held):
            self.held = held

    for held, message in (
        ({Dense(1, 1)}, "set"),
        ({"a.b": Dense(1, 1)}, "a.b"),
        ({0: Dense(1, 1)}, "non-empty strings"),
    ):
        with pytest.raises(errors.ModuleDefinitionError, match=message):
            fn.functionalize(Holder(held))
    cycle = Holder(None)
    cycle.held = [cycle]
    with pytest.raises(errors.ModuleDefinitionError, match="cycles"):
        fn.functionalize(cycle)


def test_an_initializer_of_another_shape():
    class Wrong(fn.Module):
        def __init__(self):
            self.weight = fn.Parameter((3,), lambda key, shape, dtype: jnp.zeros(2, dtype))

    with pytest.raises(ValueError, match=r"\(2,\), not \(3,\)"):
        built(Wrong())


def test_habits_of_pytorch():
    class Forward(fn.Module):
        def forward(self, x):
            return x

    with pytest.raises(TypeError, match="`forward` is `__call__` here"):
        fn.functionalize(Forward())
    _, params, state = built(Dense(3, 2))
    for module in (Dense(3, 2), fn.bind(Dense(3, 2), params, state)):
        for name, instead in (
            ("parameters", r"jax\.tree\.leaves"),
            ("train", "train=True"),
            ("to", "belong to the arrays"),
            ("state_dict", r"fn\.state_dict"),
            ("register_buffer", r"fn\.Buffer"),
            ("forward", "__call__"),
        ):
            with pytest.raises(
                AttributeError, match=rf"no attribute '{name}'\. In funcnet: .*{instead}"
            ):
                getattr(module, name)
        with pytest.raises(AttributeError, match=r"'Dense' object has no attribute 'weigth'$"):
            _ = module.weigth
        assert not hasattr(module, "anything")


Tensor = type("Tensor", (), {"__module__": "torch"})


class Typed(fn.Module):
    """A module whose call is written as one for PyTorch."""

    def __init__(self, call):
        self.call = call

    def __call__(self, x):
        return self.call(x)


@pytest.mark.parametrize(
    ("call", "instead"),
    [
        (lambda x: x.flatten(1), "reshape"),
        (lambda x: x.view(-1), "reshape"),
        (lambda x: x.view(2, -1), "reshape"),
        (lambda x: x.mean(dim=1), "axis="),
        (lambda x: jnp.sum(x, dim=1), "axis="),
        (lambda x: x.sum(1, keepdim=True), "keepdims="),
        (lambda x: x.size(0), r"x\.shape"),
        (lambda x: x.permute(1, 0), "transpose"),
        (lambda x: x.sum().backward(), r"jax\.grad"),
        (lambda x: x.detach(), "stop_gradient"),
        (lambda x: x.unsqueeze(0), "expand_dims"),
        (lambda x: x.float(), "astype"),
        (lambda x: x.add_(1), "immutable"),
        (lambda x: jnp.cat([x, x]), "concatenate"),
        (lambda x: jnp.sin(Tensor()), r"tensor\.numpy\(\)"),
    ],
)
@pytest.mark.parametrize("jit", [False, True])
def test_methods_of_tensors_are_noted(call, instead, jit):
    net = fn.functionalize(Typed(call))
    apply = jax.jit(net.apply) if jit else net.apply
    with pytest.raises((TypeError, AttributeError, ValueError, NotImplementedError)) as caught:
        apply({}, {}, jnp.ones((2, 3)))
    notes = [note for note in caught.value.__notes__ if note.startswith("In JAX: ")]
    assert len(notes) == 1
    assert re.search(instead, notes[0])


def test_what_is_not_a_habit_has_no_note():
    net = fn.functionalize(Typed(lambda x: x.nothing))
    with pytest.raises(AttributeError) as caught:
        net.apply({}, {}, jnp.ones(3))
    assert not [note for note in caught.value.__notes__ if note.startswith("In JAX: ")]


def test_a_functional_is_used_by_its_two_functions():
    net, params, state = built(Dense(3, 2))
    with pytest.raises(TypeError, match=r"output, state = net\.apply\(params, state, x\)"):
        net(params, state, jnp.ones(3))
    for name in ("parameters", "eval", "to", "state_dict"):
        with pytest.raises(AttributeError, match=rf"'{name}'\. In funcnet: "):
            getattr(net, name)
    assert not hasattr(net, "anything")
    with pytest.raises(TypeError, match="static_argnames='train'"):
        jax.jit(net.apply)(params, state, jnp.ones(3), train=True)


def test_arguments_of_pytorchs_constructors():
    nn = fn.nn
    with pytest.raises(TypeError, match=r"ReLU takes no inplace=: arrays are immutable"):
        nn.ReLU(inplace=True)
    with pytest.raises(TypeError, match="Linear takes no device=: device belongs to the arrays"):
        nn.Linear(3, 2, device="cuda")
    with pytest.raises(TypeError, match=r"Dropout takes at most 1 positional.*got 2.*inplace"):
        nn.Dropout(0.5, True)
    with pytest.raises(TypeError, match="unexpected keyword argument 'features'"):
        nn.Linear(3, features=2)

    class Own(fn.Module):
        def __init__(self, device):
            self.device = device

    assert Own(device="gpu").device == "gpu"


def test_init_without_a_key():
    net = fn.functionalize(Dense(3, 2))
    with pytest.raises(TypeError, match=r"net\.init\(jax\.random\.key\(0\)\); got none"):
        net.init()


def test_arrays_of_a_model_that_a_wrapper_changes_the_names_of():
    plain, wrapped = Dense(3, 2), fn.nn.Remat(Dense(3, 2))
    params, state = fn.functionalize(plain).init(jax.random.key(0))
    net = fn.functionalize(wrapped)
    with pytest.raises(errors.ParameterTreeError, match="differ by `module` alone"):
        net.apply(params, state, jnp.ones(3))
    params, state = fn.load_state_dict(wrapped, fn.state_dict(plain, params, state))
    assert net.apply(params, state, jnp.ones(3))[0].shape == (2,)
