"""Rows for recurrent layers and cells."""

from tests.parity import Layer

LENGTHS = [4, 1, 6]


def _packed(layer):
    """PyTorch's layer on packed sequences, of the same padded shape as ours."""

    def run(x, *states):
        from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

        first = layer.batch_first
        packed = pack_padded_sequence(x, LENGTHS, batch_first=first, enforce_sorted=False)
        output, final = layer(packed, *states)
        return pad_packed_sequence(output, batch_first=first)[0], final

    return run


def _with_lengths(layer):
    return lambda x, *states: layer(x, *states, lengths=LENGTHS)


def _layers(name, state, **common):
    """Rows for one kind of layer; ``state(depth, batch)`` gives the shape of its states."""
    row = lambda kwargs, inputs, **more: Layer(
        name, (3, 4), kwargs, inputs=inputs, **{"train": False, **common, **more}
    )
    packed = {"ours": _with_lengths, "theirs": _packed, "note": "-lengths", "vmap": False}
    return [
        row({}, [(6, 2, 3)], train=True),
        row({"num_layers": 2}, [(6, 2, 3), state(2, 2)]),
        row({"bidirectional": True, "batch_first": True}, [(2, 6, 3), state(2, 2)]),
        row({"num_layers": 2, "bidirectional": True, "bias": False}, [(5, 2, 3)]),
        row({}, [(5, 3)]),
        row({"bidirectional": True, "batch_first": True}, [(5, 3), state(2)]),
        row({"num_layers": 2, "dropout": 0.5}, [(1, 1, 3)]),
        row({"num_layers": 2, "dropout": 1.0}, [(3, 1, 3)], train=True),
        row({}, [(5, 0, 3)]),
        row({"num_layers": 2, "bidirectional": True}, [(6, 3, 3), state(4, 3)], **packed),
        row({"batch_first": True}, [(3, 6, 3)], **packed),
    ]


def _single(*shape):
    return (*shape, 4)


def _pair(*shape):
    return ((*shape, 4), (*shape, 4))


def _projected(*shape):
    return ((*shape, 2), (*shape, 4))


def _cells(name, state, *settings):
    return [
        Layer(name, (3, 4), inputs=[(5, 3)]),
        Layer(name, (3, 4), inputs=[(5, 3), state(5)], train=False),
        Layer(name, (3, 4), inputs=[(3,)], train=False),
        Layer(name, (3, 4), inputs=[(3,), state()], train=False),
        Layer(name, (3, 4), {"bias": False}, inputs=[(5, 3), state(5)], train=False),
        Layer(name, (1, 4), inputs=[(1, 1), state(1)], train=False),
        Layer(name, (3, 4), inputs=[(0, 3)], train=False),
        *[
            Layer(name, (3, 4), kwargs, inputs=[(5, 3), state(5)], train=False)
            for kwargs in settings
        ],
    ]


ROWS = [
    *_layers("RNN", _single),
    Layer("RNN", (3, 4, 2, "relu"), inputs=[(6, 2, 3)], train=False),
    *_layers("LSTM", _pair),
    Layer("LSTM", (3, 4), {"proj_size": 2}, inputs=[(6, 2, 3), _projected(1, 2)], train=False),
    Layer(
        "LSTM",
        (3, 4, 2),
        {"proj_size": 2, "bidirectional": True, "batch_first": True},
        inputs=[(3, 6, 3), _projected(4, 3)],
        train=False,
        ours=_with_lengths,
        theirs=_packed,
    ),
    Layer("LSTM", (3, 4, 2), {"proj_size": 1, "bias": False}, inputs=[(6, 3)], train=False),
    *_layers("GRU", _single),
    *_cells("RNNCell", _single, {"nonlinearity": "relu"}),
    *_cells("LSTMCell", _pair),
    *_cells("GRUCell", _single),
]

RAISES = [
    Layer("RNN", (3, 4), {"nonlinearity": "gelu"}, inputs=[(6, 2, 3)]).raises(
        ValueError, "nonlinearity must be one of 'tanh', 'relu'"
    ),
    Layer("RNN", (3, 4), {"proj_size": 2}, inputs=[(6, 2, 3)]).raises(
        TypeError, "got an unexpected keyword argument 'proj_size'"
    ),
    Layer("RNN", (3, 4), inputs=[(6, 2, 4)]).raises(ValueError, "input must have shape (T, N, 3)"),
    Layer("RNN", (3, 4), inputs=[(3,)]).raises(ValueError, "input must have shape (T, N, 3)"),
    Layer("RNN", (3, 4), inputs=[(6, 2, 3), (1, 4)]).raises(
        ValueError, "the initial state must have shape (1, 2, 4)"
    ),
    Layer("LSTM", (3, 0), inputs=[(6, 2, 3)]).raises(
        ValueError, "hidden_size must be greater than zero"
    ),
    Layer("LSTM", (3, 4), {"num_layers": 0}, inputs=[(6, 2, 3)]).raises(
        ValueError, "num_layers must be greater than zero"
    ),
    Layer("LSTM", (3, 4), {"proj_size": 4}, inputs=[(6, 2, 3)]).raises(
        ValueError, "proj_size must be at least 0 and below hidden_size=4"
    ),
    Layer("LSTM", (3, 4), {"proj_size": -1}, inputs=[(6, 2, 3)]).raises(
        ValueError, "proj_size must be at least 0 and below hidden_size=4"
    ),
    Layer("LSTM", (3, 4), {"dropout": 1.5}, inputs=[(6, 2, 3)]).raises(
        ValueError, "dropout is a probability and must lie in [0, 1]"
    ),
    Layer("LSTM", (3, 4), {"bias": 1}, inputs=[(6, 2, 3)]).raises(
        TypeError, "bias must be True or False"
    ),
    Layer("LSTM", (3, 4), inputs=[(6, 2, 3), ((1, 2, 4), (1, 3, 4))]).raises(
        ValueError, "the initial state must have shape (1, 2, 4) and (1, 2, 4)"
    ),
    Layer("GRU", (3.0, 4), inputs=[(6, 2, 3)]).raises(TypeError, "input_size must be an integer"),
    Layer("GRU", (3, 4), inputs=[(6, 2, 3), (2, 2, 4)]).raises(
        ValueError, "the initial state must have shape (1, 2, 4)"
    ),
    Layer("GRU", (3, 4), inputs=[(6, 3), (1, 1, 4)]).raises(
        ValueError, "the initial state must have shape (1, 4)"
    ),
    Layer("RNNCell", (3, 4), {"nonlinearity": "gelu"}, inputs=[(2, 3)]).raises(
        ValueError, "nonlinearity must be one of 'tanh', 'relu'"
    ),
    Layer("RNNCell", (3, 4), inputs=[(2, 2, 3)]).raises(
        ValueError, "a cell takes an input (N, I) with states (N, H)"
    ),
    Layer("LSTMCell", (3, 4), inputs=[(2, 3), ((2, 4), (2, 5))]).raises(
        ValueError, "the states of 4 units for an input of shape (2, 3) must"
    ),
    Layer("GRUCell", (3, 4), inputs=[(2, 3), (3, 4)]).raises(
        ValueError, "the states of 4 units for an input of shape (2, 3) must"
    ),
    Layer("GRUCell", (3, 4), inputs=[(2, 5)]).raises(
        ValueError, "the last axis of input must have the 3 features of the"
    ),
]
