"""What PyTorch's packages of quantization are asked for: they are no packages here, and their parts are functions."""

from funcnet.core.torch_hints.arrays import same

__all__ = ["OF_QUANTIZATION"]

_QUANTIZED = (
    "a layer becomes one of few bits by a function of the model: fn.compression.quantize (weights), "
    "fn.compression.quantize_dynamic (activations too), fn.compression.fake_quantize and fn.compression.convert "
    "(trained or calibrated)"
)
_AO = (
    "fn.compression.quantize (weights alone), fn.compression.quantize_dynamic (quantize_dynamic), "
    "fn.compression.fake_quantize (prepare, prepare_qat, FakeQuantize, QuantStub), fn.compression.calibrate "
    "(observers: MinMaxObserver, HistogramObserver), fn.compression.convert (convert), fn.compression.Int8 and "
    "fn.compression.Int4 (QConfig, get_default_qconfig); nn.utils.fuse_conv_bn (fuse_modules); "
    "F.fake_quantize_per_tensor_affine; fn.compression.quantization_report says what it costs"
)
_OBSERVER = "fn.compression.calibrate measures ranges on batches"
_CONFIG = "a scheme says how: fn.compression.Int8(), fn.compression.Int4(group=32)"
_FAKE = "fn.compression.fake_quantize(module, params, state, ...)"
_OBSERVERS = """
AffineQuantizedObserverBase FixedQParamsObserver MovingAveragePerChannelMinMaxObserver NoopObserver
PlaceholderObserver RecordingObserver ReuseInputObserver UniformQuantizationObserverBase
default_affine_fixed_qparams_observer default_debug_observer default_dynamic_quant_observer
default_fixed_qparams_range_0to1_observer default_fixed_qparams_range_neg1to1_observer
default_float_qparams_observer default_float_qparams_observer_4bit default_histogram_observer default_observer
default_per_channel_weight_observer default_placeholder_observer default_reuse_input_observer
default_symmetric_fixed_qparams_observer default_weight_observer disable_observer enable_observer
get_observer_state_dict load_observer_state_dict no_observer_set weight_observer_range_neg_127_to_127
"""
_FAKES = """
FakeQuantizeBase FixedQParamsFakeQuantize FusedMovingAvgObsFakeQuantize ObserverOrFakeQuantize
default_affine_fixed_qparams_fake_quant default_dynamic_fake_quant default_embedding_fake_quant
default_embedding_fake_quant_4bit default_fake_quant default_fixed_qparams_range_0to1_fake_quant
default_fixed_qparams_range_neg1to1_fake_quant default_fused_act_fake_quant
default_fused_per_channel_wt_fake_quant default_fused_wt_fake_quant default_histogram_fake_quant
default_per_channel_weight_fake_quant default_symmetric_fixed_qparams_fake_quant default_weight_fake_quant
disable_fake_quant enable_fake_quant fused_per_channel_wt_fake_quant_range_neg_127_to_127
fused_wt_fake_quant_range_neg_127_to_127 quantize_qat
"""
_CONFIGS = """
Granularity MappingType PerAxis PerBlock PerGroup PerRow PerTensor PerToken QConfigAny QConfigDynamic QuantType
TorchAODType ZeroPointDomain get_block_size get_default_dynamic_quant_module_mappings
get_default_dynamic_sparse_quant_module_mappings get_default_float_to_quantized_operator_mappings
get_default_qat_module_mappings get_default_qat_qconfig get_default_qat_qconfig_dict
get_default_qat_qconfig_mapping get_default_qconfig_dict get_default_qconfig_mapping
get_default_qconfig_propagation_list get_default_static_quant_module_mappings
get_default_static_quant_reference_module_mappings get_default_static_sparse_quant_module_mappings
get_embedding_qat_module_mappings get_embedding_static_quant_module_mappings
per_channel_weight_observer_range_neg_127_to_127 propagate_qconfig_ qconfig_equals script_qconfig
script_qconfig_dict
"""
_FUSED = """
fuse_conv_bn fuse_conv_bn_jit fuse_conv_bn_relu fuse_convtranspose_bn fuse_linear_bn fuse_modules_qat
"""
_GRAPHS = """
add_quant_dequant convert_dynamic_jit convert_jit default_eval_fn get_default_compare_output_module_list
get_default_custom_config_dict get_dynamic_quant_module_class get_fuser_method get_fuser_method_new
get_quantized_operator get_static_quant_module_class prepare_dynamic_jit prepare_jit quantize_dynamic_jit
quantize_jit swap_module
"""

_STEPS = (
    "a model goes in and another comes out: fn.compression.fake_quantize, fn.compression.calibrate, "
    "fn.compression.convert"
)
_JOINED = (
    "nn.utils.fuse_conv_bn, nn.utils.fuse_linear_bn; XLA joins activations to what they follow"
)

OF_QUANTIZATION: dict[str, dict[str, str]] = {
    "funcnet": {
        **dict.fromkeys(("ao", "quantization", "qint8", "quint8", "quantize_per_tensor", "quantize_per_channel"), _AO),
        "fake_quantize_per_tensor_affine": "F.fake_quantize_per_tensor_affine",
        "fake_quantize_per_channel_affine": "F.fake_quantize_per_channel_affine",
    },
    "funcnet.nn": dict.fromkeys(("intrinsic", "qat", "quantizable", "quantized"), _QUANTIZED),
    "funcnet.compression": {
        **dict.fromkeys(("prepare", "prepare_qat", "FakeQuantize", "QuantStub", "DeQuantStub", "QuantWrapper"), _FAKE),
        **dict.fromkeys(
            ("MinMaxObserver", "HistogramObserver", "MovingAverageMinMaxObserver", "PerChannelMinMaxObserver",
             "ObserverBase"),
            _OBSERVER,
        ),
        **dict.fromkeys(("QConfig", "QConfigMapping", "get_default_qconfig", "default_qconfig"), _CONFIG),
        **same(_OBSERVER, _OBSERVERS),
        **same(_FAKE, _FAKES),
        **same(_CONFIG, _CONFIGS),
        **same(_JOINED, "fuse_modules" + _FUSED),
        **same(_STEPS, _GRAPHS),
        "quantize_": "fn.compression.quantize(module, params, state, ...)",
        **dict.fromkeys(("l1_unstructured", "global_unstructured", "L1Unstructured"), "fn.compression.magnitude_masks"),
        **dict.fromkeys(("random_unstructured", "RandomUnstructured"), "fn.compression.random_masks"),
        **dict.fromkeys(("random_structured", "RandomStructured"), "fn.compression.random_masks(key, ..., axis=0)"),
        **dict.fromkeys(("ln_structured", "LnStructured"), "fn.compression.structured_masks"),
        "PruningContainer": "fn.compression.combine_masks; masks=earlier prunes what is left",
        **dict.fromkeys(("custom_from_mask", "remove", "CustomFromMask"), "fn.compression.apply_masks(params, masks)"),
        "BasePruningMethod": "a method is a function that returns masks, trees of booleans: "
        "fn.compression.combine_masks",
        **dict.fromkeys(("Identity", "identity"), "no mask is the identity: fn.compression.combine_masks takes any"),
        "is_pruned": "fn.compression.sparsity(params) counts zeros by path",
    },
}  # fmt: skip
