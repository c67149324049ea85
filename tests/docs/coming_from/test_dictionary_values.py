"""What the dictionary says to write computes what PyTorch's function computes: its code is run beside PyTorch's."""

import ast
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from funcnet import functional as F
from funcnet.core.torch_hints import messages

X = np.array([[0.9, -0.3, 0.2], [0.3, 0.8, -0.1], [0.2, 0.1, 0.7], [0.6, -1.5, 0.4]], np.float32)
SQUARE = np.array([[4.0, 1.0, 0.5], [1.0, 3.0, 0.2], [0.5, 0.2, 2.0]], np.float32)
GIVEN = {
    "x": X, "y": X[::-1].copy() + 1, "row": np.array([1.0, 2.0, 4.0, 7.0], np.float32), "a": SQUARE,
    "b": np.array([[1.0], [2.0], [3.0]], np.float32), "l": np.linalg.cholesky(SQUARE), "mask": X > 0.25,
    "values": np.arange(12, dtype=np.float32).reshape(4, 3), "places": np.array([2, 0, 1]),
    "indices": np.array([[0, 2], [1, 1], [2, 0], [0, 0]]), "weights": np.array([0.1, 0.2, 0.7], np.float32),
}  # fmt: skip
"""Arrays of both sides, by the names that sentences have for them."""

NUMBERS = {"axis": 1, "n": 3, "k": 2, "p": 3, "value": 5.0, "min": -0.2, "max": 0.5, "lengths": [1, 2], "start": 1,
    "length": 2, "i": 1, "j": 0, "alpha": 2.0, "beta": 3.0, "bins": 5, "rows": 3, "columns": 4, "offset": -1, "r": 2,
    "shifts": 1, "axes": (0, 1), "dx": 0.5, "correction": 1, "weight": 0.3, "size": 2, "hop": 2, "maxnorm": 0.5,
    "side": "left", "repeats": (2, 1), "shape": (4, 3), "spacing": 1.0, "maximum": 0.5}  # fmt: skip

CASES = {
    "add": "torch.add(x, y)", "sub": "torch.sub(x, y)", "mul": "torch.mul(x, y)", "div": "torch.div(x, y)",
    "lerp": "torch.lerp(x, y, weight)", "frac": "torch.frac(x)", "mm": "torch.mm(x.T, y)",
    "clamp": "torch.clamp(x, min, max)", "clamp_min": "torch.clamp_min(x, min)", "clip": "torch.clip(x, min, max)",
    "median": "torch.median(x)", "nanmedian": "torch.nanmedian(x)", "msort": "torch.msort(x)",
    "mode": "torch.mode(indices)[0]", "kthvalue": "torch.kthvalue(x, k)[0]", "topk": "torch.topk(x, k)",
    "std": "torch.std(x)", "var": "torch.var(x)", "std_mean": "torch.std_mean(x)", "cov": "torch.cov(x)",
    "logcumsumexp": "torch.logcumsumexp(x, 1)", "dist": "torch.dist(x, y, p)",
    "histc": "torch.histc(x, bins, min, max)", "bucketize": "torch.bucketize(x, boundaries)",
    "searchsorted": "torch.searchsorted(row, x)", "cross": "torch.linalg.cross(x, y)",
    "cat": "torch.cat(arrays, axis)", "chunk": "torch.chunk(x, n)", "split": "torch.split(x, lengths, axis)",
    "split_with_sizes": "torch.split_with_sizes(x, lengths, axis)", "tensor_split": "torch.tensor_split(x, n, axis)",
    "combinations": "torch.combinations(row, r)", "cartesian_prod": "torch.cartesian_prod(row, row)",
    "cdist": "torch.cdist(x, y)", "unsqueeze": "torch.unsqueeze(x, axis)", "flatten": "torch.flatten(x)",
    "transpose": "torch.transpose(x, i, j)", "t": "torch.t(x)", "adjoint": "torch.adjoint(x)",
    "flip": "torch.flip(x, axes)", "roll": "torch.roll(x, shifts, 0)", "rot90": "torch.rot90(x, k, axes)",
    "repeat_interleave": "torch.repeat_interleave(x, n, axis)", "narrow": "torch.narrow(x, axis, start, length)",
    "select": "torch.select(x, axis, i)", "index_select": "torch.index_select(x, axis, places)",
    "gather": "torch.gather(x, axis, indices)", "take_along_dim": "torch.take_along_dim(x, indices, axis)",
    "masked_fill": "torch.masked_fill(x, mask, value)", "masked_select": "torch.masked_select(x, mask)",
    "masked_scatter": "torch.masked_scatter(row, row > 1.5, torch.arange(4.0))",
    "nonzero": "torch.nonzero(mask)", "nonzero_static": "torch.nonzero_static(mask, size=n)",
    "unique": "torch.unique(indices)", "unique_consecutive": "torch.unique_consecutive(row)",
    "tril_indices": "torch.tril_indices(rows, columns, offset)", "gradient": "torch.gradient(row)[0]",
    "triu_indices": "torch.triu_indices(rows, columns, offset)", "squeeze": "torch.squeeze(x[:, :1], 1)",
    "blackman_window": "torch.blackman_window(n)", "hamming_window": "torch.hamming_window(n)",
    "hann_window": "torch.hann_window(n)", "bartlett_window": "torch.bartlett_window(n)",
    "kaiser_window": "torch.kaiser_window(n, True, beta)", "norm": "torch.norm(x)",
    "logdet": "torch.logdet(a)", "cholesky_inverse": "torch.cholesky_inverse(l)",
    "cholesky_solve": "torch.cholesky_solve(b, l)", "vander": "torch.vander(row, n)",
    "triangular_solve": "torch.triangular_solve(b, a)[0]", "solve_triangular":
    "torch.linalg.solve_triangular(a, b, upper=True)", "lu": "torch.linalg.lu(a)",
    "lu_factor": "[part - i for i, part in enumerate(torch.linalg.lu_factor(a))]",
    "nuclear_norm": "torch.nuclear_norm(a)",
    "diagonal": "torch.diagonal(x)", "bessel_j0": "torch.special.bessel_j0(x)",
    "bessel_j1": "torch.special.bessel_j1(x)", "is_signed": "torch.is_signed(x)", "equal": "torch.equal(x, y)",
    "stft": "torch.stft(row.repeat(4), 4, hop, window=w, return_complex=True)",
    "renorm": "torch.renorm(x, 2, 0, maxnorm)", "addmm": "torch.addmm(a, a, a, beta=beta, alpha=alpha)",
    "cumulative_trapezoid": "torch.cumulative_trapezoid(row, dx=dx)", "polar": "torch.polar(row, row)",
    "addr": "torch.addr(a, a[0], a[1], beta=beta, alpha=alpha)",
    "view_as_real": "torch.view_as_real(torch.complex(x, y))", "complex": "torch.complex(x, y)",
}  # fmt: skip
"""PyTorch's calls; the other side is the first code of the sentence."""

OTHERWISE = {
    "mode": {"x": GIVEN["indices"]}, "searchsorted": {"x": X}, "nonzero": {"x": GIVEN["mask"]},
    "nonzero_static": {"x": GIVEN["mask"]}, "unique": {"x": GIVEN["indices"]}, "mm": {"x": X.T},
    "unique_consecutive": {"x": GIVEN["row"]}, "combinations": {"x": GIVEN["row"]}, "squeeze": {"x": X[:, :1]},
    "masked_scatter": {"x": GIVEN["row"], "mask": GIVEN["row"] > 1.5, "values": np.arange(4.0)},
    "chunk": {"size": 2}, "gradient": {"x": GIVEN["row"], "axis": None}, "vander": {"x": GIVEN["row"]},
    "index_select": {"indices": GIVEN["places"]}, "roll": {"axes": 0}, "cross": {"axis": -1},
    "addmm": {"x": SQUARE, "y": SQUARE, "b": SQUARE}, "addr":
    {"x": SQUARE[0], "y": SQUARE[1]}, "stft": {"x": np.tile(GIVEN["row"], 4), "n": 4},
    "cumulative_trapezoid": {"y": GIVEN["row"]}, "polar": {"r": GIVEN["row"], "angle": GIVEN["row"]},
    "cartesian_prod": {"arrays": [GIVEN["row"], GIVEN["row"]]}, "view_as_real": {"x": X + 1j * GIVEN["y"]},
    "complex": {"real": X, "imag": GIVEN["y"]}, "renorm": {"norms": np.linalg.norm(X, axis=1, keepdims=True)},
}  # fmt: skip
"""What a sentence's names stand for, where they are others."""


def code_of(sentence):
    """The code that a sentence begins with: what stands in backticks, or as many words as are an expression."""
    if sentence.startswith("`"):
        return sentence.split("`")[1]
    ends = [at for at, sign in enumerate(sentence) if sign in " ;:,"] + [len(sentence)]
    for end in sorted(ends, reverse=True):
        code = sentence[:end].strip(" ,;:")
        try:
            parts = getattr(ast.parse(code, mode="eval").body, "elts", [])
        except SyntaxError:
            continue
        if not any(isinstance(part, ast.Name | ast.Compare) for part in parts):  # these are words
            return code
    raise AssertionError(f"no code at the beginning of {sentence!r}")


def same(theirs, ours):
    if isinstance(theirs, (tuple, list)):
        return len(theirs) == len(ours) and all(map(same, theirs, ours))
    expected = theirs.resolve_conj().numpy() if hasattr(theirs, "numpy") else np.asarray(theirs)
    return np.shape(ours) == expected.shape and np.allclose(ours, expected, 1e-4, 1e-4)


@pytest.mark.parametrize("name", CASES)
@pytest.mark.filterwarnings("ignore")  # PyTorch's, of functions that it means to drop
def test_the_code_of_a_sentence_computes_the_same(name):
    torch = pytest.importorskip("torch")
    tensors = {key: torch.tensor(value) for key, value in GIVEN.items()}
    theirs = {**NUMBERS, **tensors, "torch": torch, "arrays": [tensors["x"], tensors["y"]],
        "boundaries": torch.tensor([0.1, 0.3, 0.8]), "w": torch.hann_window(4)}  # fmt: skip
    expected = eval(CASES[name], theirs)
    ours = {**NUMBERS, **{key: jnp.asarray(value) for key, value in GIVEN.items()}, "arrays": [X, GIVEN["y"]],
        "boundaries": jnp.array([0.1, 0.3, 0.8]), "w": jnp.hanning(5)[:-1], "jax": jax, "jnp": jnp, "np": np, "F": F,
        "itertools": itertools}  # fmt: skip
    for key, value in OTHERWISE.get(name, {}).items():
        ours[key] = jnp.asarray(value) if isinstance(value, np.ndarray) else value
    sentence = messages.instead_of("funcnet")[name]
    with jax.numpy_dtype_promotion("standard"):  # as users have it
        assert same(expected, eval(code_of(sentence), ours)), sentence


DENSITIES = {
    "Normal": ("Normal(loc, scale)", "x"), "Uniform": ("Uniform(low, high)", "x"), "Beta": ("Beta(a, b)", "x"),
    "Bernoulli": ("Bernoulli(p)", "binary"), "Binomial": ("Binomial(n, p)", "k"), "Poisson": ("Poisson(rate)", "k"),
    "Multinomial": ("Multinomial(n, weights)", "counts"), "Geometric": ("Geometric(p)", "k"), "NegativeBinomial":
    ("NegativeBinomial(r, p)", "k"), "Gamma": ("Gamma(a, rate)", "x"), "Dirichlet": ("Dirichlet(alpha)", "weights"),
    "Chi2": ("Chi2(df)", "x"), "Exponential": ("Exponential(rate)", "x"), "Laplace": ("Laplace(loc, scale)", "x"),
    "Cauchy": ("Cauchy(loc, scale)", "x"), "Gumbel": ("Gumbel(loc, scale)", "x"), "Pareto": ("Pareto(scale, 1.5)", "y"),
    "StudentT": ("StudentT(df, loc, scale)", "x"), "LogNormal": ("LogNormal(loc, scale)", "x"),
    "HalfNormal": ("HalfNormal(scale)", "x"), "HalfCauchy": ("HalfCauchy(scale)", "x"), "VonMises":
    ("VonMises(loc, kappa)", "x"), "MultivariateNormal": ("MultivariateNormal(mean, cov)", "mean - 1.0"),
}  # fmt: skip
"""PyTorch's distributions, and where their densities are compared."""

SETTINGS = {"loc": 0.3, "scale": 0.8, "low": -1.0, "high": 2.0, "a": 1.5, "b": 2.5, "p": 0.3, "n": 6, "rate": 1.7,
    "r": 3.0, "df": 4.0, "kappa": 2.0}  # fmt: skip
PLACES = {"x": np.array([0.2, 0.5, 0.9]), "y": np.array([1.2, 2.5]), "binary": np.array([0.0, 1.0]),
    "k": np.arange(4.0), "counts": np.array([1.0, 2.0, 3.0]), "weights": np.array([0.2, 0.3, 0.5]),
    "alpha": np.array([1.0, 2.0, 3.0]),
    "mean": np.array([0.1, 0.2, 0.3]), "cov": SQUARE.astype(float)}  # fmt: skip


@pytest.mark.parametrize("name", DENSITIES)
def test_densities_are_pytorchs(name):
    torch = pytest.importorskip("torch")
    made, place = DENSITIES[name]
    tensors = {key: torch.tensor(value, dtype=torch.float32) for key, value in PLACES.items()}
    expected = eval(
        f"{made}.log_prob({place})", {**vars(torch.distributions), **SETTINGS, **tensors}
    )
    arrays = {key: jnp.asarray(value, jnp.float32) for key, value in PLACES.items()}
    named = {
        "Bernoulli": {"k": arrays["binary"]},
        "Multinomial": {"p": arrays["weights"], "counts": arrays["counts"].astype(int)},
        "Pareto": {"alpha": 1.5, "x": arrays["y"]},
        "Dirichlet": {"x": arrays["weights"]},
        "MultivariateNormal": {"x": arrays["mean"] - 1.0},
    }
    ours = {**SETTINGS, **arrays, **named.get(name, {}), "jax": jax, "jnp": jnp}
    code = code_of(messages.instead_of("funcnet")[name].partition("densities: ")[2])
    with jax.numpy_dtype_promotion("standard"):
        assert same(expected, eval(code, ours)), code
