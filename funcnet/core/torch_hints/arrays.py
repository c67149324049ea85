"""What PyTorch's functions of arrays are called in JAX; methods of arrays are told by the same table."""

__all__ = ["OF_ARRAYS", "same"]


def same(form: str, names: str) -> dict[str, str]:
    """Give each of several names the sentence that a form makes of it."""
    return {name: form.format(name=name) for name in names.split()}


_NUMPY = same(
    "jnp.{name}",
    """
    abs absolute acos acosh all allclose amax amin angle any arange arccos arccosh arcsin arcsinh arctan arctan2
    arctanh argmax argmin argsort argwhere asarray asin asinh atan atan2 atanh atleast_1d atleast_2d atleast_3d
    bfloat16 bincount bitwise_and bitwise_left_shift bitwise_not bitwise_or bitwise_right_shift bitwise_xor
    broadcast_shapes broadcast_to ceil column_stack complex128 complex64 concatenate conj copysign
    corrcoef cos cosh count_nonzero cumprod cumsum deg2rad diag diagflat diff divide dot dsplit dstack
    dtype e einsum empty empty_like exp exp2 expm1 eye finfo fliplr flipud float16 float32 float64 float8_e4m3fn
    float8_e4m3fnuz float8_e5m2 float8_e5m2fnuz float8_e8m0fnu float_power floor floor_divide fmax fmin fmod frexp
    frombuffer full full_like gcd greater greater_equal heaviside hsplit hstack hypot i0 iinfo imag inf
    inner int16 int2 int32 int4 int64 int8 isclose isfinite isin isinf isnan isneginf isposinf isreal kron lcm
    ldexp less less_equal linspace log log10 log1p log2 logaddexp logaddexp2 logical_and logical_not logical_or
    logical_xor logspace matmul maximum mean minimum moveaxis multiply nan nan_to_num nanmean nansum negative
    newaxis nextafter not_equal ones ones_like outer pi positive pow prod promote_types quantile nanquantile
    rad2deg ravel real reciprocal remainder reshape result_type round set_printoptions sign signbit
    sin sinc sinh sqrt square subtract sum swapaxes take tan tanh tensordot tile trace trapezoid tril triu
    true_divide trunc uint16 uint2 uint32 uint4 uint64 uint8 unravel_index vdot vecdot vsplit vstack
    where zeros zeros_like
    """,
)

_ALGEBRA = same(
    "jnp.linalg.{name}",
    "LinAlgError cholesky cond det eig eigh eigvals eigvalsh inv matrix_norm matrix_power matrix_rank "
    "multi_dot pinv qr "
    "slogdet solve svdvals tensorinv tensorsolve vector_norm",
) | {
    "LinAlgError": "nothing raises it: a result that failed is not finite",
    "svd": "jnp.linalg.svd(a, full_matrices=False): the third is Vh, as torch.linalg.svd's, where torch.svd's is V; "
    "by default JAX and torch.linalg.svd have full_matrices=True",
    "lstsq": "jnp.linalg.lstsq(a, b): the first of the tuple is the solution",
    "norm": "jnp.linalg.norm(x); torch.norm(x, p) takes all entries, of a matrix too: jnp.linalg.vector_norm(x, ord=p)",
    "vander": "jnp.vander(x, n); torch.linalg.vander has rising powers: jnp.vander(x, n, increasing=True)",
    "diagonal": "jnp.diagonal(x); of the last two axes, as torch.linalg.diagonal, jnp.linalg.diagonal(x)",
    "inverse": "jnp.linalg.inv",
    "pinverse": "jnp.linalg.pinv",
    "logdet": "jnp.linalg.slogdet(a)[1]; PyTorch's is NaN where the determinant is negative",
    "matrix_exp": "jax.scipy.linalg.expm",
    "cholesky_ex": "jnp.linalg.cholesky; where it fails the result is NaN",
    "inv_ex": "jnp.linalg.inv; where it fails the result is not finite",
    "solve_ex": "jnp.linalg.solve; where it fails the result is not finite",
    "cholesky_inverse": "jax.scipy.linalg.cho_solve((l, True), jnp.eye(n))",
    "cholesky_solve": "jax.scipy.linalg.cho_solve((l, True), b)",
    "solve_triangular": "jax.scipy.linalg.solve_triangular(a, b); upper=False is lower=True",
    "triangular_solve": "jax.scipy.linalg.solve_triangular(a, b): the matrix comes first",
    "lu": "jax.scipy.linalg.lu(a) returns P, L, U as torch.linalg.lu; torch.lu is jax.scipy.linalg.lu_factor",
    "lu_factor": "jax.scipy.linalg.lu_factor(a): pivots count from 0",
    "lu_factor_ex": "jax.scipy.linalg.lu_factor(a): pivots count from 0",
    "lu_solve": "jax.scipy.linalg.lu_solve((lu, pivots), b): pivots count from 0",
    "lu_unpack": "jax.scipy.linalg.lu(a) returns the three matrices",
    "householder_product": "jax.lax.linalg.householder_product",
    "orgqr": "jax.lax.linalg.householder_product",
    "ormqr": "jax.lax.linalg.householder_product of the reflectors, padded with zeros to a square; then `@`",
    "geqrf": "jnp.linalg.qr(a, mode='raw'), whose first is transposed",
    **same(
        "JAX has no such factorization: jax.scipy.linalg.lu_factor, or jnp.linalg.eigh of a symmetric matrix",
        "ldl_factor ldl_factor_ex ldl_solve",
    ),
    "lobpcg": "jax.experimental.sparse.linalg.lobpcg_standard; fn.lanczos of a function",
    "pca_lowrank": "jnp.linalg.svd(a - a.mean(0), full_matrices=False): the third is Vh, not V",
    "svd_lowrank": "jnp.linalg.svd(a, full_matrices=False): the third is Vh, not V",
    "frobenius_norm": "jnp.linalg.norm",
    "nuclear_norm": "jnp.linalg.norm(a, 'nuc')",
    "dist": "jnp.linalg.norm((x - y).ravel(), p)",
    "renorm": "`x * jnp.minimum(1, maxnorm / norms)`; F.embedding_renorm for tables",
}

_FOURIER = same(
    "jnp.fft.{name}",
    "fft fft2 fftfreq fftn fftshift hfft ifft ifft2 ifftn ifftshift ihfft irfft irfft2 irfftn rfft rfft2 rfftfreq "
    "rfftn",
) | {
    "stft": "`jax.scipy.signal.stft(x, window=w, nperseg=n, noverlap=n - hop, boundary='even', padded=False)[2] * "
    "w.sum()` with an array as window: by default scale and ends are SciPy's",
    "istft": "jax.scipy.signal.istft(z / w.sum(), window=w, nperseg=n, noverlap=n - hop)[1] with an array as window: "
    "by default scale and ends are SciPy's",
}  # fmt: skip

_SPECIAL = same(
    "jax.scipy.special.{name}",
    "digamma entr erf erfc erfcx erfinv expit gammainc gammaincc gammaln i0e i1 i1e log_ndtr logsumexp multigammaln "
    "ndtr ndtri "
    "polygamma xlog1py xlogy zeta logit",
) | {
    "psi": "jax.scipy.special.digamma",
    "lgamma": "jax.scipy.special.gammaln",
    "mvlgamma": "jax.scipy.special.multigammaln",
    "igamma": "jax.scipy.special.gammainc",
    "igammac": "jax.scipy.special.gammaincc",
    "bessel_j0": "jax.scipy.special.bessel_jn(x, v=0, n_iter=20)[0]; of 32 bits it is NaN for x near 0",
    "bessel_j1": "jax.scipy.special.bessel_jn(x, v=1, n_iter=20)[1]; of 32 bits it is NaN for x near 0",
    "modified_bessel_i0": "jax.scipy.special.i0",
    "modified_bessel_i1": "jax.scipy.special.i1",
    **same(
        "JAX has no such function: scipy.special on the host by jax.pure_callback, or its recurrence in `lax.scan`",
        "airy_ai bessel_y0 bessel_y1 chebyshev_polynomial_t chebyshev_polynomial_u chebyshev_polynomial_v "
        "chebyshev_polynomial_w hermite_polynomial_h hermite_polynomial_he laguerre_polynomial_l "
        "legendre_polynomial_p modified_bessel_k0 "
        "modified_bessel_k1 scaled_modified_bessel_k0 scaled_modified_bessel_k1 shifted_chebyshev_polynomial_t "
        "shifted_chebyshev_polynomial_u shifted_chebyshev_polynomial_v shifted_chebyshev_polynomial_w "
        "spherical_bessel_j0",
    ),
}  # fmt: skip

_LAYERS = same(
    "F.{name}",
    "adaptive_avg_pool1d adaptive_max_pool1d alpha_dropout avg_pool1d batch_norm bilinear "
    "binary_cross_entropy_with_logits "
    "celu channel_shuffle conv1d conv2d conv3d conv_transpose1d conv_transpose2d conv_transpose3d "
    "cosine_embedding_loss "
    "cosine_similarity ctc_loss dropout embedding embedding_bag feature_alpha_dropout group_norm hardshrink "
    "hinge_embedding_loss instance_norm kl_div layer_norm log_softmax margin_ranking_loss max_pool1d max_pool2d "
    "max_pool3d "
    "pairwise_distance pdist pixel_shuffle pixel_unshuffle poisson_nll_loss prelu relu rms_norm rrelu selu sigmoid "
    "softmax "
    "threshold triplet_margin_loss",
) | {
    "max_pool1d_with_indices": "F.max_pool1d(..., return_indices=True)",
    "feature_dropout": "F.dropout2d",
    "conv_tbc": "F.conv1d of `x.transpose(1, 2, 0)`",
}  # fmt: skip

_DIFFERENT = {
    "add": "`x + y`; alpha= is a factor: `x + alpha * y`",
    "sub": "`x - y`; alpha= is a factor: `x - alpha * y`",
    "mul": "`x * y`",
    "div": "`x / y`; rounding_mode='floor' is `x // y`, rounding_mode='trunc' is jnp.trunc(x / y)",
    "neg": "`-x`",
    "rsqrt": "jax.lax.rsqrt",
    "fix": "jnp.trunc",
    "frac": "`x - jnp.trunc(x)`",
    "sgn": "jnp.sign",
    "lerp": "`x + weight * (y - x)`",
    "addcmul": "`x + value * a * b`",
    "addcdiv": "`x + value * a / b`",
    **same("`x @ y`", "mm bmm mv"),
    **same("`beta * b + alpha * (x @ y)`", "addmm addmv baddbmm"),
    "addbmm": "`beta * b + alpha * (x @ y).sum(0)`",
    "addr": "`beta * a + alpha * jnp.outer(x, y)`",
    "ger": "jnp.outer",
    "chain_matmul": "jnp.linalg.multi_dot",
    "eq": "`x == y`",
    "ne": "`x != y`",
    "lt": "`x < y`",
    "le": "`x <= y`",
    "gt": "`x > y`",
    "ge": "`x >= y`",
    "equal": "jnp.array_equal(x, y); jnp.equal goes by elements",
    **same("jnp.clip(x, min, max)", "clamp clip"),
    "clamp_min": "jnp.maximum(x, min)",
    "clamp_max": "jnp.minimum(x, max)",
    "max": "jnp.max(x, axis) returns values alone; jnp.argmax the places; of two arrays jnp.maximum",
    "min": "jnp.min(x, axis) returns values alone; jnp.argmin the places; of two arrays jnp.minimum",
    "aminmax": "jnp.min, jnp.max",
    "median": "jnp.quantile(x, 0.5, method='lower'): values alone; jnp.median is, of an even number, the mean of the "
    "middle two",
    "nanmedian": "jnp.nanquantile(x, 0.5, method='lower'): values alone; jnp.nanmedian is, of an even number, the mean "
    "of the middle two",
    "mode": "jax.scipy.stats.mode(x, axis=-1)[0]; the first axis by default",
    "kthvalue": "jnp.sort(x, axis=-1)[..., k - 1]: values alone; jnp.argsort the places",
    "topk": "jax.lax.top_k(x, k): values and places along the last axis; the smallest of `-x`",
    "sort": "jnp.sort returns values alone; jnp.argsort the places",
    "msort": "jnp.sort(x, 0)",
    "std": "jnp.std(x, ddof=1): by default JAX divides by n",
    "var": "jnp.var(x, ddof=1): by default JAX divides by n",
    "std_mean": "jnp.std(x, ddof=1), jnp.mean(x)",
    "var_mean": "jnp.var(x, ddof=1), jnp.mean(x)",
    "cov": "jnp.cov(x, ddof=correction): 1 by default, too",
    "cummax": "jax.lax.cummax(x, axis): values alone",
    "cummin": "jax.lax.cummin(x, axis): values alone",
    "logcumsumexp": "jax.lax.cumlogsumexp(x, axis)",
    "cumulative_trapezoid": "jnp.cumsum((y[1:] + y[:-1]) / 2 * dx)",
    "trapz": "jnp.trapezoid",
    "cross": "jnp.cross(x, y, axis=axis): the last axis by default",
    "nonzero": "jnp.argwhere(x); jnp.nonzero returns one array an axis; under jit size= must be given",
    "histogram": "jnp.histogram(x, bins): 10 by default, where PyTorch has 100",
    "histc": "jnp.histogram(x, bins, range=(min, max))[0]",
    "histogramdd": "jnp.histogramdd",
    "bucketize": "jnp.searchsorted(boundaries, x, side='left'); right=True is side='right'",
    "searchsorted": "jnp.searchsorted(row, x, side='left') of one row, of more by jax.vmap; right=True is "
    "side='right'",
    "unique": "jnp.unique(x); under jit size= must be given",
    "squeeze": "jnp.squeeze(x, axis): an axis longer than 1 is an error",
    "gradient": "jnp.gradient(x, spacing, axis=axis); of one axis it returns the array alone",
    "can_cast": "jnp.can_cast(a, b, casting='same_kind')",
    "cat": "jnp.concatenate(arrays, axis)",
    "concat": "jnp.concatenate(arrays, axis)",
    "row_stack": "jnp.vstack",
    "chunk": "jnp.split(x, np.arange(size, len(x), size)), where `size = -(-len(x) // n)`; "
    "jnp.array_split evens lengths out",
    "split": "jnp.split(x, np.cumsum(lengths)[:-1], axis): places where it is cut, not lengths",
    "split_with_sizes": "jnp.split(x, np.cumsum(lengths)[:-1], axis): places where it is cut, not lengths",
    "tensor_split": "jnp.array_split(x, n, axis)",
    "block_diag": "jax.scipy.linalg.block_diag",
    "broadcast_tensors": "jnp.broadcast_arrays",
    "cartesian_prod": "jnp.stack(jnp.meshgrid(*arrays, indexing='ij'), -1).reshape(-1, len(arrays))",
    "combinations": "`x[jnp.array(list(itertools.combinations(range(len(x)), r)))]`",
    "meshgrid": "jnp.meshgrid(..., indexing='ij'): the default of JAX is 'xy'",
    "cdist": "jnp.linalg.norm(x[..., :, None, :] - y[..., None, :, :], axis=-1); F.pdist within one",
    "unsqueeze": "jnp.expand_dims(x, axis), or x[:, None]",
    "flatten": "jnp.ravel(x); from the second axis on x.reshape(x.shape[0], -1), as the layer nn.Flatten() does",
    "unflatten": "x.reshape(...); nn.Unflatten is a layer",
    "permute": "x.transpose(axes)",
    "transpose": "jnp.swapaxes(x, i, j); jnp.transpose takes all axes",
    "swapdims": "jnp.swapaxes",
    "movedim": "jnp.moveaxis",
    "t": "x.T",
    "adjoint": "x.mT.conj()",
    "flip": "jnp.flip(x, axes)",
    "roll": "jnp.roll(x, shifts, axes)",
    "rot90": "jnp.rot90(x, k, axes)",
    "repeat_interleave": "jnp.repeat(x, n, axis)",
    "narrow": "jax.lax.dynamic_slice_in_dim(x, start, length, axis)",
    "select": "jnp.take(x, i, axis), or `x[:, i]`; jnp.select is another function",
    "index_select": "jnp.take(x, indices, axis), or `x[indices]`",
    "gather": "jnp.take_along_axis(x, indices, axis); indices are as long as x in all other axes, or 1 long",
    "take_along_dim": "jnp.take_along_axis(x, indices, axis)",
    "scatter": "`x.at[indices].set(values)`; along one axis jnp.put_along_axis(x, indices, values, axis, "
    "inplace=False)",
    "scatter_add": "`x.at[indices].add(values)`; sums by group: F.segment_sum",
    "scatter_reduce": "`x.at[indices].max(values)`, and min, add, multiply",
    "segment_reduce": "F.segment_sum, F.segment_mean; jax.ops.segment_max",
    "index_add": "`x.at[indices].add(values)`",
    "index_copy": "`x.at[indices].set(values)`",
    "index_fill": "`x.at[indices].set(value)`",
    "index_put": "`x.at[indices].set(values)`",
    "index_reduce": "`x.at[indices].max(values)`, and min, multiply",
    "select_scatter": "`x.at[:, i].set(values)`",
    "slice_scatter": "`x.at[:, start:stop].set(values)`",
    "diagonal_scatter": "`x.at[jnp.diag_indices(n)].set(values)`",
    "as_strided_scatter": "arrays have no strides: `x.at[...].set(values)`",
    "put": "`x.ravel().at[indices].set(values).reshape(x.shape)`",
    "masked_fill": "jnp.where(mask, value, x)",
    "masked_select": "`x[mask]`; under jit the length must be known: jnp.where(mask, x, 0)",
    "masked_scatter": "jnp.where(mask, values[jnp.cumsum(mask) - 1], x) of one row; not under jit "
    "`x.at[mask].set(values)`, with as many values as the mask is true",
    "nonzero_static": "jnp.argwhere(x, size=n, fill_value=-1)",
    "unique_consecutive": "`x[jnp.append(True, x[1:] != x[:-1])]`, not under jit",
    "diag_embed": "`jnp.zeros(...).at[..., i, i].set(x)`; jnp.diag of one row",
    "tril_indices": "jnp.stack(jnp.tril_indices(rows, offset, columns))",
    "triu_indices": "jnp.stack(jnp.triu_indices(rows, offset, columns))",
    "range": "jnp.arange, whose end is left out",
    "clone": "nothing: arrays are immutable; jnp.copy(x) makes one",
    "detach": "jax.lax.stop_gradient(x)",
    "numel": "x.size",
    "is_nonzero": "bool(x)",
    "is_floating_point": "jnp.issubdtype(x.dtype, jnp.floating)",
    "is_complex": "jnp.iscomplexobj(x)",
    "is_signed": "jnp.issubdtype(x.dtype, jnp.signedinteger) or jnp.issubdtype(x.dtype, jnp.inexact)",
    "is_tensor": "isinstance(x, jax.Array)",
    "conj_physical": "jnp.conj",
    "complex": "jax.lax.complex(real, imag)",
    "polar": "`r * jnp.exp(1j * angle)`",
    "view_as_complex": "jax.lax.complex(x[..., 0], x[..., 1])",
    "view_as_real": "jnp.stack([x.real, x.imag], -1)",
    "blackman_window": "jnp.blackman(n + 1)[:-1]",
    "hamming_window": "jnp.hamming(n + 1)[:-1]",
    "hann_window": "jnp.hanning(n + 1)[:-1]",
    "bartlett_window": "jnp.bartlett(n + 1)[:-1]",
    "kaiser_window": "jnp.kaiser(n + 1, beta)[:-1]",
    "scalar_tensor": "jnp.asarray(value)",
    "from_dlpack": "jnp.from_dlpack",
    "to_dlpack": "`x.__dlpack__()`",
    "from_file": "jnp.asarray(np.memmap(path, ...))",
    "while_loop": "jax.lax.while_loop(condition, body, carry)",
    "as_strided": "arrays have no strides: index them, or F.unfold, jax.lax.conv_general_dilated_patches",
    "empty_permuted": "arrays have no strides: jnp.empty",
    "empty_strided": "arrays have no strides: jnp.empty",
    "rand_like": "jax.random.uniform(key, x.shape, x.dtype)",
    "randn_like": "jax.random.normal(key, x.shape, x.dtype)",
    "randint_like": "jax.random.randint(key, x.shape, low, high)",
    "rand": "jax.random.uniform(key, shape)",
    "randn": "jax.random.normal(key, shape)",
    "randint": "jax.random.randint(key, shape, low, high)",
    "randperm": "jax.random.permutation(key, n)",
    "normal": "`mean + std * jax.random.normal(key, shape)`",
    "bernoulli": "jax.random.bernoulli(key, p): booleans",
    "binomial": "jax.random.binomial(key, n, p)",
    "poisson": "jax.random.poisson(key, rate)",
    "multinomial": "jax.random.choice(key, n, (k,), replace=False, p=weights); with replacement "
    "jax.random.categorical(key, jnp.log(weights), shape=(k,))",
}  # fmt: skip

OF_ARRAYS: dict[str, dict[str, str]] = {
    "funcnet": _NUMPY | _ALGEBRA | _FOURIER | _SPECIAL | _LAYERS | _DIFFERENT
}
