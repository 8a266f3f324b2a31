"""How many multiply-accumulates an operation takes, by the shapes of what it is given and gives.

As in published tables of layers only convolutions, matrix products and attention count. Additions, pools and
normalizations count 0, and stand in a list; an operation that is in no list counts None, which is not 0.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import torch

Category = Literal["product", "elementwise", "pool", "norm", "reduction", "copy", "view"]
_Formula = Callable[[Sequence[Any], Sequence[torch.Tensor]], int]


def macs(func: Any, args: Sequence[Any], kwargs: Mapping[str, Any], made: Sequence[torch.Tensor]) -> int | None:
    """Returns the multiply-accumulates of one call, 0 for a kind of operation that is not counted; None if unknown."""
    formula = _PRODUCTS.get(_name(func))
    if formula is None:
        return None if category(func) is None else 0
    return formula((*args, *kwargs.values()), made)


def category(func: Any) -> Category | None:
    """Returns what kind of operation it is; None for one that is in no list."""
    name = _name(func)
    if name in _PRODUCTS:
        return "product"
    for kind, names in _FREE.items():
        if name in names or name.removesuffix("_") in names:
            return kind
    if func.is_view:
        return "view"
    return "elementwise" if torch.Tag.pointwise in func.tags else None


def _name(func: Any) -> str:
    return str(func._schema.name)  # noqa: SLF001 - the one way to an operation's name


def _convolution(args: Sequence[Any], made: Sequence[torch.Tensor]) -> int:
    # Each output is a sum over the kernel and the input channels of its group: all but the first side of a weight.
    weight = args[1]
    if len(args) > 6 and args[6] is True:
        # Transposed: each input goes to the kernel and the output channels of its group.
        return int(args[0].numel() * math.prod(weight.shape[1:]))
    return int(made[0].numel() * math.prod(weight.shape[1:]))


def _packed_convolution(args: Sequence[Any], made: Sequence[torch.Tensor]) -> int:
    weight = args[1].unpack()[0]
    transposed = bool(args[1].transpose()) if hasattr(args[1], "transpose") else False
    values = args[0] if transposed else made[0]
    return int(values.numel() * math.prod(weight.shape[1:]))


def _last_of_first(args: Sequence[Any], made: Sequence[torch.Tensor]) -> int:
    """Each output sums over the last side of the first operand."""
    return int(made[0].numel() * args[0].shape[-1])


def _last_of_second(args: Sequence[Any], made: Sequence[torch.Tensor]) -> int:
    """As before, of operations that add to their first operand."""
    return int(made[0].numel() * args[1].shape[-1])


def _attention(args: Sequence[Any], _made: Sequence[torch.Tensor]) -> int:
    query, key, value = args[:3]
    # Scores for each pair of query and key, and the values that they weigh.
    return int(query.shape[:-1].numel() * key.shape[-2] * (query.shape[-1] + value.shape[-1]))


def _whole_attention(args: Sequence[Any], _made: Sequence[torch.Tensor]) -> int:
    """Projects query, key and value, attends, and projects the output: all in one operation."""
    (batch, queries, width), keys = args[0].shape, args[1].shape[1]
    projections = 2 * batch * (queries + keys) * width * width
    return int(projections + 2 * batch * queries * keys * width)


def _recurrent(args: Sequence[Any], _made: Sequence[torch.Tensor]) -> int:
    steps = args[0].shape[:-1].numel()
    return int(steps * (args[1].numel() + args[2].numel()))


_PRODUCTS: dict[str, _Formula] = {
    "aten::_native_multi_head_attention": _whole_attention,
    "aten::mkldnn_rnn_layer": _recurrent,
    **dict.fromkeys(
        ("aten::convolution", "aten::_convolution", "aten::cudnn_convolution", "aten::mkldnn_convolution",
         "mkldnn::_convolution_pointwise"), _convolution),
    **dict.fromkeys(
        [f"quantized::{kind}{form}" for kind in ("conv1d", "conv2d", "conv3d", "conv_transpose1d", "conv_transpose2d",
         "conv_transpose3d") for form in ("", "_relu", "_add", "_add_relu", "_dynamic")], _packed_convolution),
    **dict.fromkeys(
        ("aten::mm", "aten::bmm", "aten::mv", "aten::_int_mm", "aten::_scaled_mm", "aten::linear",
         "aten::mkldnn_linear", "aten::_weight_int8pack_mm", "aten::dot", "mkldnn::_linear_pointwise",
         "quantized::linear",
         "quantized::linear_relu", "quantized::linear_dynamic", "quantized::linear_relu_dynamic",
         "quantized::linear_leaky_relu", "quantized::linear_tanh", "quantized::linear_dynamic_fp16"), _last_of_first),
    **dict.fromkeys(("aten::addmm", "aten::baddbmm", "aten::addbmm", "aten::addmv"), _last_of_second),
    **dict.fromkeys(
        ("aten::_scaled_dot_product_flash_attention_for_cpu", "aten::_scaled_dot_product_flash_attention",
         "aten::_scaled_dot_product_efficient_attention", "aten::_scaled_dot_product_cudnn_attention",
         "aten::_scaled_dot_product_fused_attention_overrideable"), _attention),
}  # fmt: skip
# What counts 0, beside views and what torch itself says to be pointwise.
_FREE: dict[Category, frozenset[str]] = {
    "elementwise": frozenset(
        {"aten::quantize_per_tensor", "aten::quantize_per_channel", "aten::dequantize", "aten::_softmax",
         "aten::_log_softmax", "aten::native_dropout", "aten::hardtanh", "aten::leaky_relu", "aten::prelu",
         "aten::hardswish", "aten::hardsigmoid", "aten::log_sigmoid_forward", "aten::glu", "aten::celu",
         "aten::_prelu_kernel", "aten::masked_fill", "aten::cumsum",
         "aten::fake_quantize_per_tensor_affine", "aten::fake_quantize_per_channel_affine",
         "aten::fake_quantize_per_tensor_affine_cachemask", "aten::fake_quantize_per_channel_affine_cachemask",
         "aten::_fake_quantize_per_tensor_affine_cachemask_tensor_qparams", "aten::quantize_per_tensor_dynamic",
         "quantized::add", "quantized::add_relu", "quantized::add_out", "quantized::add_scalar", "quantized::mul",
         "quantized::mul_relu", "quantized::mul_scalar", "quantized::relu6", "quantized::leaky_relu",
         "quantized::hardswish", "quantized::sigmoid", "quantized::elu", "quantized::softmax", "quantized::dropout",
         "quantized_decomposed::quantize_per_tensor", "quantized_decomposed::quantize_per_channel",
         "quantized_decomposed::dequantize_per_tensor", "quantized_decomposed::dequantize_per_channel",
         "quantized_decomposed::quantize_per_token", "quantized_decomposed::dequantize_per_token",
         "torchao::quantize_affine", "torchao::dequantize_affine"}),
    "pool": frozenset(
        {"aten::max_pool2d_with_indices", "aten::max_pool3d_with_indices", "aten::max_pool2d", "aten::avg_pool2d",
         "aten::avg_pool3d", "aten::_adaptive_avg_pool2d", "aten::_adaptive_avg_pool3d", "aten::adaptive_max_pool2d",
         "aten::adaptive_max_pool3d", "aten::quantized_max_pool1d", "aten::quantized_max_pool2d",
         "aten::quantized_max_pool3d", "aten::mkldnn_max_pool2d"}),
    "norm": frozenset(
        {"aten::native_batch_norm", "aten::_native_batch_norm_legit", "aten::_native_batch_norm_legit_no_training",
         "aten::cudnn_batch_norm", "aten::_batch_norm_no_update", "aten::_batch_norm_with_update",
         "aten::native_layer_norm", "aten::native_group_norm", "aten::_fused_rms_norm", "quantized::batch_norm2d",
         "quantized::batch_norm2d_relu", "quantized::layer_norm", "quantized::group_norm",
         "quantized::instance_norm"}),
    "reduction": frozenset(
        {"aten::sum", "aten::mean", "aten::amax", "aten::amin", "aten::aminmax", "aten::max", "aten::min",
         "aten::argmax", "aten::argmin", "aten::all", "aten::any", "aten::var", "aten::std", "aten::var_mean",
         "aten::prod", "aten::linalg_vector_norm", "quantized_decomposed::choose_qparams",
         "quantized_decomposed::choose_qparams_per_token", "torchao::choose_qparams_affine",
         "quantized_decomposed::choose_qparams_symmetric"}),
    "copy": frozenset(
        {"aten::copy", "aten::clone", "aten::_to_copy", "aten::cat", "aten::stack", "aten::constant_pad_nd",
         "aten::pad",
         "aten::reflection_pad2d", "aten::replication_pad2d", "aten::im2col", "aten::col2im", "aten::roll",
         "aten::flip", "aten::index", "aten::index_select", "aten::gather", "aten::embedding", "aten::repeat",
         "aten::_reshape_copy", "aten::pixel_shuffle", "aten::channel_shuffle", "aten::upsample_nearest2d",
         "aten::upsample_bilinear2d", "aten::zeros", "aten::ones", "aten::empty", "aten::full", "aten::empty_like",
         "aten::zeros_like", "aten::ones_like", "aten::full_like", "aten::arange", "aten::scalar_tensor", "aten::fill",
         "aten::zero", "aten::_local_scalar_dense", "aten::lift_fresh", "aten::lift_fresh_copy", "aten::resolve_conj",
         "aten::new_zeros", "aten::new_ones", "aten::new_full", "aten::new_empty", "aten::_unsafe_view",
         "aten::split_with_sizes", "aten::expand_copy", "aten::empty_strided", "aten::_assert_async",
         "aten::int_repr", "aten::_assert_tensor_metadata", "aten::repeat_interleave", "quantized::cat"}),
}  # fmt: skip
