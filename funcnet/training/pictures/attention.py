"""Which position looked at which: the weights of attention, asked of a model, and drawn."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from funcnet.core.aliases import Array, Params, State
from funcnet.core.paths import matches
from funcnet.module import Functional, capture
from funcnet.module.description import replaced, snapshot
from funcnet.nn import Identity, MultiheadAttention
from funcnet.training.pictures.images import shortened
from funcnet.training.pictures.style import finished, label_axes, new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["attention_maps", "attention_weights"]

_SEEN = "attention_of_heads"
_MOST_TOKENS = 40


def attention_weights(
    net: Functional, params: Params, state: State, *inputs: Any, layers: str = "*", **kwargs: Any
) -> dict[str, Array]:
    """Return the weights of every head of a model's `nn.MultiheadAttention` layers, by the layers' paths.

    The model runs once, in evaluation, with a copy of each layer that is asked for its weights, whatever the code
    around it asks: `nn.TransformerEncoderLayer` and the like ask for none.

    Args:
        net: what `functionalize` returned.
        params: the trained arrays.
        state: the buffers.
        *inputs: of the call.
        layers: a glob on the paths of attention layers.
        **kwargs: of the call.

    Returns:
        By path, in the order of the calls: ``(N, heads, L, S)``, each row of which sums to one; without N for one
        example.

    Raises:
        ValueError: no `nn.MultiheadAttention` of the model has such a path. `nn.GroupedQueryAttention` and
            `F.scaled_dot_product_attention` do not tell their weights.

    Example:
        >>> net = fn.functionalize(nn.TransformerEncoderLayer(8, nhead=2, batch_first=True))
        >>> params, state = net.init(jax.random.key(0))
        >>> weights = fn.training.pictures.attention_weights(net, params, state, jnp.ones((4, 5, 8)))
        >>> {path: value.shape for path, value in weights.items()}
        {'self_attn': (4, 2, 5, 5)}
    """
    observable = net.observable
    found = [
        path
        for path, part in observable.node.layout.modules.items()
        if type(part) is MultiheadAttention and matches(layers, path)
    ]
    if not found:
        raise ValueError(
            f"no nn.MultiheadAttention of the model has a path like {layers!r}; nn.GroupedQueryAttention and "
            "F.scaled_dot_product_attention do not tell their weights"
        )
    told = replace(observable, node=snapshot(replaced(net.module, _telling)))
    names = [f"{path}.{_SEEN}" if path else _SEEN for path in found]
    seeing = capture(Functional(told.init, told.apply), names)
    (_, captured), _ = seeing.apply(params, state, *inputs, **kwargs)
    return {
        name.replace(f".{_SEEN}", "").replace(_SEEN, ""): value for name, value in captured.items()
    }


def attention_maps(
    weights: Any,
    path: str | os.PathLike[str] | None = None,
    *,
    queries: Sequence[str] | None = None,
    keys: Sequence[str] | None = None,
    example: int = 0,
    title: str = "",
) -> "Figure":
    """Draw attention weights: a row of panels a layer, a panel a head, a line a query, a column a key.

    All panels have the scale from 0 to the largest weight.

    Args:
        weights: ``(L, S)``, ``(heads, L, S)`` or ``(N, heads, L, S)``; or a dict of those by layer, such as
            `attention_weights` returns.
        path: where to save the picture.
        queries: the tokens of the lines; those of ``keys`` if there are as many.
        keys: the tokens of the columns; those of ``queries`` if there are as many.
        example: which of N.
        title: above all.

    Returns:
        The figure.

    Raises:
        IndexError: there is no such example.
        ValueError: the shapes are not these, or tokens are not as many as positions.

    Example:
        >>> weights = jax.nn.softmax(jax.random.normal(jax.random.key(0), (2, 4, 4)))
        >>> figure = fn.training.pictures.attention_maps(weights, "runs/attention.png", keys=list("abcd"))
        >>> [axes.get_title() for axes in figure.axes[:2]]
        ['head 0', 'head 1']
    """
    named = weights if isinstance(weights, Mapping) else {"": weights}
    maps = {name: _of_heads(value, example, name) for name, value in named.items()}
    if not maps:
        raise ValueError("there are no weights to draw")
    heads = max(len(value) for value in maps.values())
    largest = max((float(np.nanmax(value)) for value in maps.values() if value.size), default=1.0)
    lines, columns = (max(value.shape[axis] for value in maps.values()) for axis in (1, 2))
    width, height = (1.2 + 0.14 * min(number, _MOST_TOKENS) for number in (columns, lines))
    size = (max(width * heads + 1.0, 4.0), max(height, 1.8) * len(maps) + 0.4 * bool(title))
    figure, grid = new_figure(len(maps), heads, size=size, grid=False)
    # of cividis everybody sees the same order of brightness
    shown: Any = {"cmap": "cividis", "interpolation": "nearest", "aspect": "auto", "vmin": 0}
    shown["vmax"] = largest or 1.0
    image: Any = None
    for row, (name, value) in zip(grid, maps.items(), strict=True):
        tokens = _tokens(value.shape[1:], queries, keys)
        for head, axes in enumerate(row):
            if head >= len(value):
                axes.remove()
                continue
            image = axes.imshow(value[head], **shown)
            label = ", ".join(text for text in (name, f"head {head}") if text)
            label_axes(axes, shortened(label, 30), x="key", y="query" if head == 0 else "")
            axes.title.set_fontsize("small")
            _name_tokens(axes, *tokens, first=head == 0)
    figure.colorbar(image, ax=figure.axes, label="weight (fraction)", aspect=30)
    if title:
        figure.suptitle(title, parse_math=False)
    return finished(figure, path)


class _Telling(MultiheadAttention):
    """Attention that also shows the weights of its heads to who captures them."""

    def __call__(
        self,
        query: Array,
        key: Array,
        value: Array,
        key_padding_mask: Array | None = None,
        need_weights: bool = True,
        attn_mask: Array | None = None,
        average_attn_weights: bool = True,
        is_causal: bool = False,
        **packed: Any,
    ) -> tuple[Array, Array | None]:
        """Attend as the layer does."""
        output, weights = super().__call__(
            query, key, value, key_padding_mask, True, attn_mask, False, is_causal, **packed
        )
        assert weights is not None  # they were asked for
        weights = vars(self)[_SEEN](weights)
        if not need_weights:
            return output, None
        return output, weights.mean(-3) if average_attn_weights else weights


def _telling(old: Any, new: Any) -> Any:
    if type(old) is not MultiheadAttention:
        return new
    telling = _Telling.__new__(_Telling)
    vars(telling).update(vars(new), implementation=None)  # one form alone tells its weights
    setattr(telling, _SEEN, Identity())
    return telling


def _of_heads(weights: Any, example: int, name: str) -> np.ndarray:
    """Return ``(heads, L, S)``."""
    values = np.asarray(weights, np.float32)
    if values.ndim == 4:
        if not -len(values) <= example < len(values):
            raise IndexError(f"there are {len(values)} examples; got example={example}")
        values = values[example]
    if values.ndim == 2:
        values = values[None]
    if values.ndim != 3:
        where = f" of {name}" if name else ""
        raise ValueError(
            f"attention weights are (L, S), (heads, L, S) or (N, heads, L, S); got shape {values.shape}{where}"
        )
    return values


def _tokens(shape: tuple[int, ...], queries: Any, keys: Any) -> tuple[Any, Any]:
    lines, columns = shape
    if queries is None and keys is not None and len(keys) == lines:
        queries = keys
    elif keys is None and queries is not None and len(queries) == columns:
        keys = queries
    for name, tokens, number in (("queries", queries, lines), ("keys", keys, columns)):
        if tokens is not None and len(tokens) != number:
            raise ValueError(f"there are {number} {name}, but {len(tokens)} tokens for them")
    return queries, keys


def _name_tokens(axes: "Axes", queries: Any, keys: Any, *, first: bool) -> None:
    """Write tokens beside lines and columns, as many as can be read."""
    for tokens, ticks, turned in ((queries, axes.set_yticks, 0), (keys, axes.set_xticks, 90)):
        if tokens is None:
            continue
        places = range(0, len(tokens), -(-len(tokens) // _MOST_TOKENS))
        if ticks == axes.set_yticks and not first:
            ticks([])
            continue
        texts = [shortened(str(tokens[place]), 16) for place in places]
        ticks(places, texts, fontsize=7, rotation=turned, parse_math=False)
