"""What the distributions of ``torch.distributions`` are called: samples are JAX's functions, densities too."""

__all__ = ["OF_DISTRIBUTIONS"]

_SAMPLES = "samples: `jax.random.{}`"
_BOTH = _SAMPLES + "; densities: `jax.scipy.stats.{}`"
_NONE = "JAX has no density: write its formula; samples: `jax.random.{}`"
_TRANSFORM = "a transform is a function; the density of what it returns subtracts jnp.log(jnp.abs(derivative))"
_SUPPORT = "a function to the support: jnp.exp, F.softplus, F.sigmoid, F.softmax"

OF_DISTRIBUTIONS: dict[str, dict[str, str]] = {
    "funcnet": {
        # torch.distributions
        "Normal": _BOTH.format("normal(key, shape) * scale + loc", "norm.logpdf(x, loc, scale)"),
        "Uniform": _BOTH.format("uniform(key, shape, minval=low, maxval=high)", "uniform.logpdf(x, low, high - low)"),
        "Bernoulli": _BOTH.format("bernoulli(key, p, shape)", "bernoulli.logpmf(k, p)"),
        "Categorical": _SAMPLES.format("categorical(key, logits)") + "; the logarithm of a probability: "
        "`F.log_softmax(logits, -1)[k]`",
        "OneHotCategorical": _SAMPLES.format("categorical(key, logits)") + ", then F.one_hot",
        "OneHotCategoricalStraightThrough": "F.gumbel_softmax(logits, hard=True, key=key), of relaxed gradients",
        "RelaxedOneHotCategorical": "F.gumbel_softmax(logits, tau, key=key)",
        "RelaxedBernoulli": "F.sigmoid((logits + jax.random.logistic(key, shape)) / temperature)",
        "Binomial": _BOTH.format("binomial(key, n, p, shape)", "binom.logpmf(k, n, p)"),
        "Multinomial": _BOTH.format("multinomial(key, n, p)", "multinomial.logpmf(counts, n, p)"),
        "Poisson": _BOTH.format("poisson(key, rate, shape)", "poisson.logpmf(k, rate)"),
        "Geometric": _BOTH.format("geometric(key, p, shape) - 1", "geom.logpmf(k + 1, p)")
        + "; JAX counts trials, PyTorch failures",
        "NegativeBinomial": "samples: Poisson with the rate `jax.random.gamma(key, r, shape) * p / (1 - p)`; "
        "densities: jax.scipy.stats.nbinom.logpmf(k, r, 1 - p), where PyTorch's p is of what is counted",
        "Beta": _BOTH.format("beta(key, a, b, shape)", "beta.logpdf(x, a, b)"),
        "Dirichlet": _BOTH.format("dirichlet(key, alpha, shape)", "dirichlet.logpdf(x, alpha)"),
        "Gamma": _BOTH.format("gamma(key, a, shape) / rate", "gamma.logpdf(x, a, scale=1 / rate)"),
        "InverseGamma": "samples: `rate / jax.random.gamma(key, a, shape)`; the density has one line",
        "Chi2": _BOTH.format("chisquare(key, df, shape=shape)", "chi2.logpdf(x, df)"),
        "Exponential": _BOTH.format("exponential(key, shape) / rate", "expon.logpdf(x, scale=1 / rate)"),
        "Laplace": _BOTH.format("laplace(key, shape) * scale + loc", "laplace.logpdf(x, loc, scale)"),
        "Cauchy": _BOTH.format("cauchy(key, shape) * scale + loc", "cauchy.logpdf(x, loc, scale)"),
        "Gumbel": _BOTH.format("gumbel(key, shape) * scale + loc", "gumbel_r.logpdf(x, loc, scale)"),
        "StudentT": _BOTH.format("t(key, df, shape) * scale + loc", "t.logpdf(x, df, loc, scale)"),
        "Pareto": _BOTH.format("pareto(key, alpha, shape) * scale", "pareto.logpdf(x, alpha, scale=scale)"),
        "LogNormal": _SAMPLES.format("lognormal(key, scale, shape) * jnp.exp(loc)")
        + "; densities: `jax.scipy.stats.norm.logpdf(jnp.log(x), loc, scale) - jnp.log(x)`",
        "HalfNormal": "samples: `jnp.abs(jax.random.normal(key, shape)) * scale`; densities: "
        "`jax.scipy.stats.norm.logpdf(x, 0, scale) + jnp.log(2)`",
        "HalfCauchy": "samples: `jnp.abs(jax.random.cauchy(key, shape)) * scale`; densities: "
        "`jax.scipy.stats.cauchy.logpdf(x, 0, scale) + jnp.log(2)`",
        **dict.fromkeys(
            ("MultivariateNormal", "LowRankMultivariateNormal"),
            _BOTH.format("multivariate_normal(key, mean, cov, shape)", "multivariate_normal.logpdf(x, mean, cov)"),
        ),
        "VonMises": "densities: jax.scipy.stats.vonmises.logpdf(x - loc, kappa); JAX draws no samples of it",
        "Weibull": _NONE.format("weibull_min(key, scale, concentration, shape)"),
        "FisherSnedecor": _NONE.format("f(key, df1, df2, shape=shape)"),
        **dict.fromkeys(
            ("ContinuousBernoulli", "GeneralizedPareto", "Kumaraswamy"),
            _NONE.format("uniform(key, shape)") + ", put into the inverse of the distribution function",
        ),
        **dict.fromkeys(
            ("LKJCholesky", "Wishart", "LogisticNormal"),
            _NONE.format("normal(key, shape)") + ", transformed as the definition says",
        ),
        "MixtureSameFamily": "jax.scipy.special.logsumexp(log_weights + log_densities, axis=-1) is the density; "
        "samples: jax.random.categorical(key, log_weights) chooses a part",
        **dict.fromkeys(
            ("Distribution", "ExponentialFamily"), "jax.random draws samples; jax.scipy.stats has densities"
        ),
        "Independent": "densities are arrays: log_density.sum(axis)",
        "TransformedDistribution": _TRANSFORM,
        **dict.fromkeys(
            ("Transform", "AbsTransform", "AffineTransform", "CatTransform", "ComposeTransform",
             "CorrCholeskyTransform", "CumulativeDistributionTransform", "ExpTransform", "IndependentTransform",
             "LowerCholeskyTransform",
             "PositiveDefiniteTransform", "PowerTransform", "ReshapeTransform", "SigmoidTransform", "SoftplusTransform",
             "TanhTransform", "SoftmaxTransform", "StackTransform", "StickBreakingTransform", "identity_transform"),
            _TRANSFORM,
        ),
        **dict.fromkeys(("biject_to", "transform_to"), _SUPPORT),
        **dict.fromkeys(
            ("kl_divergence", "register_kl"),
            "of two normal distributions and the like a formula of a line; of probabilities F.kl_div",
        ),
    },
}  # fmt: skip
