"""Every public name of functional, nn and optim says its formula, or is one of those whose point is none."""

import re

import pytest

from tests.docs.formulas.of_docstrings import docstrings, formulas

SECTION = re.compile(r"\n(Args|Returns|Raises|Example|Attributes):")

WITHOUT = {
    "says what another one says, which it names: more axes, a lazy size, an older name": """
        functional.adaptive_avg_pool2d functional.adaptive_avg_pool3d functional.adaptive_max_pool2d
        functional.adaptive_max_pool3d functional.avg_pool3d functional.conv3d functional.conv_transpose2d
        functional.conv_transpose3d functional.drop_block1d functional.drop_block3d functional.dropout1d
        functional.dropout2d functional.dropout3d functional.fake_quantize_per_channel_affine
        functional.feature_alpha_dropout functional.fractional_max_pool3d functional.lp_pool3d functional.max_pool3d
        functional.max_unpool2d functional.max_unpool3d functional.recurrent functional.upsample
        functional.upsample_bilinear functional.upsample_nearest nn.DropBlock1d nn.DropBlock2d nn.DropBlock3d
        nn.Dropout1d nn.Dropout2d nn.Dropout3d nn.FeatureAlphaDropout nn.LazyBatchNorm1d nn.LazyBatchNorm2d
        nn.LazyBatchNorm3d nn.LazyConv1d nn.LazyConv2d nn.LazyConv3d nn.LazyConvTranspose1d nn.LazyConvTranspose2d
        nn.LazyConvTranspose3d nn.LazyInstanceNorm1d nn.LazyInstanceNorm2d nn.LazyInstanceNorm3d nn.LazyLinear
        nn.MaxUnpool2d nn.MaxUnpool3d nn.RNNBase nn.RNNCellBase nn.UpsamplingBilinear2d nn.UpsamplingNearest2d
        nn.Transformer nn.TransformerDecoder nn.TransformerEncoder nn.utils.fuse_conv_bn nn.utils.fuse_linear_bn""",
    "holds or calls modules": """
        nn.Buffer nn.Identity nn.Module nn.ModuleDict nn.ModuleList nn.ParameterDict nn.Parameter
        nn.ParameterList nn.Remat nn.Sequential nn.Vmap
        nn.register_parametrization nn.utils.parametrize.ParametrizationList nn.utils.parametrize.is_parametrized
        nn.utils.parametrize.remove_parametrizations nn.utils.parametrize.type_before_parametrizations
        nn.utils.remove_spectral_norm nn.utils.remove_weight_norm""",
    "moves, counts or looks numbers up, and computes none": """
        functional.dequantize_nf4 functional.length_mask functional.next_token_targets functional.nf4_values
        functional.pack_int4 functional.pad functional.segment_lengths functional.segment_positions
        functional.segment_take functional.unpack_int4 nn.Flatten nn.Unflatten nn.utils.parameter_counts
        nn.utils.parameters_to_vector nn.utils.rnn.pad_sequence nn.utils.rnn.unpad_sequence
        nn.utils.vector_to_parameters""",
    "says who may attend to whom": """
        functional.and_masks functional.create_block_mask functional.create_mask functional.document_mask
        functional.noop_mask functional.or_masks functional.segment_mask""",
    "a record of arrays or settings": """
        functional.AuxOutput functional.AuxRequest functional.BlockMask nn.LinearCrossEntropyOptions
        functional.RecurrentWeights functional.Routing functional.RoutingReport nn.AdaptiveLogSoftmaxOutput
        nn.KeyValueCache optim.AccumulateState optim.AverageState optim.GradientTransformation optim.Groups
        optim.Hyperparameters optim.LBFGSState optim.LookaheadState optim.LossScaleState optim.MaskedState
        optim.MasterState optim.NoiseState optim.PackedState optim.Point optim.RowSparse optim.RuleState
        optim.ShapedTransformation optim.SkipState optim.schedules.Plateau optim.schedules.PlateauState
        optim.schedules.Recurrence""",
    "puts optimizers or schedules together, or reads them": """
        optim.all_finite optim.conjugate optim.freeze optim.from_rule optim.frozen optim.groups optim.hyperparams
        optim.identity optim.keep_masked optim.mask optim.master_copy optim.packed optim.schedules.chained
        optim.schedules.sequential optim.schedules.values optim.skip_nonfinite optim.stateless
        optim.with_hyperparams optim.zeros_slot""",
    "of initializers: fills with what was given, or says its own law in words": """
        nn.init.Distribution nn.init.array nn.init.calculate_fan_in_and_fan_out nn.init.constant nn.init.dirac
        nn.init.eye nn.init.ones nn.init.orthogonal nn.init.sparse nn.init.zero_row nn.init.zeros""",
}
"""Names without a formula, by why."""

KINDS = {name: kind for kind, names in WITHOUT.items() for name in names.split()}


def _names():
    """The public names of the three, without methods."""
    for path, text in docstrings().items():
        name = path.removeprefix("funcnet.")
        if (
            re.match(r"(functional|nn|optim)\.", name)
            and path.rpartition(".")[0] not in docstrings()
        ):
            yield name, SECTION.split(text)[0]


def _has_formula(text):
    return ":math:" in text or ".. math::" in text or bool(formulas(text))


@pytest.mark.parametrize(("name", "text"), list(_names()), ids=lambda value: value.split("\n")[0])
def test_a_name_has_a_formula_or_a_reason(name, text):
    if name in KINDS:
        assert not _has_formula(text), f"{name} has a formula now: take it out of the table"
    else:
        assert _has_formula(text), (
            f"{name} says no formula in its docstring, and is in no table here"
        )


def test_the_table_names_what_there_is():
    assert not [
        n for n in KINDS if f"funcnet.{n}" not in docstrings() and not n.startswith("nn.init.")
    ]
