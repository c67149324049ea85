"""What PyTorch's packages of quantization are asked for: they are no packages here, and their parts are functions."""

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
        "fuse_modules": "nn.utils.fuse_conv_bn, nn.utils.fuse_linear_bn",
        "quantize_": "fn.compression.quantize(module, params, state, ...)",
        **dict.fromkeys(("l1_unstructured", "global_unstructured", "L1Unstructured"), "fn.compression.magnitude_masks"),
        **dict.fromkeys(("random_unstructured", "RandomUnstructured"), "fn.compression.random_masks"),
        **dict.fromkeys(("random_structured", "RandomStructured"), "fn.compression.random_masks(key, ..., axis=0)"),
        **dict.fromkeys(("ln_structured", "LnStructured"), "fn.compression.structured_masks"),
        "PruningContainer": "fn.compression.combine_masks; masks=earlier prunes what is left",
        **dict.fromkeys(("custom_from_mask", "remove", "CustomFromMask"), "fn.compression.apply_masks(params, masks)"),
        "is_pruned": "fn.compression.sparsity(params) counts zeros by path",
    },
}  # fmt: skip
