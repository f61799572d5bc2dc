"""What tensors are by their names: an album of packages' checkpoints, names and shapes only."""

from typing import NamedTuple

import pytest
import torch
from attacks import written
from safetensors.torch import save_file
from torchvision.models import get_model

from prunecli.errors import BadInput
from prunecli.files import roles
from prunecli.files.roles import (
    ADAPTER,
    AVERAGE,
    BIAS,
    EXPERTS,
    GAIN,
    LAYER,
    MASK,
    NO_FLOATS,
    OPTIMIZER,
    PARAMETRIZED,
    ROUTER,
    SCALE,
    SPECTRAL_NORM,
    STATISTIC,
    TABLE,
    TIED,
    TORCH_PRUNED,
    UNNAMED,
    VECTOR,
    WEIGHT_NORM,
    layout,
    layouts_of,
    roles_of,
)
from prunecli.files.tensors import TensorFile
from prunecli.network.layers import prunable


class Form(NamedTuple):
    shape: tuple
    dtype: str = "F32"


def forms(**shapes):
    return {name: Form(shape) for name, shape in shapes.items()}


# Of each package: name, shape, role. A fourth value is the type.
ALBUM = {
    "llama": [
        ("model.embed_tokens.weight", (40, 8), TABLE),
        ("model.layers.0.self_attn.q_proj.weight", (8, 8), LAYER),
        ("model.layers.0.input_layernorm.weight", (8,), VECTOR),
        ("model.layers.0.self_attn.rotary_emb.inv_freq", (4,), STATISTIC),
        ("lm_head.weight", (40, 8), LAYER),
    ],
    "gpt2": [
        ("wte.weight", (40, 8), TABLE),
        ("wpe.weight", (16, 8), TABLE),
        ("h.0.attn.c_attn.weight", (8, 24), LAYER),
        ("h.0.attn.c_attn.bias", (24,), VECTOR),
        ("h.0.attn.bias", (1, 1, 16, 16), MASK),
    ],
    "t5": [
        ("shared.weight", (40, 8), TABLE),
        ("encoder.block.0.layer.0.SelfAttention.relative_attention_bias.weight", (32, 4), TABLE),
        ("encoder.block.0.layer.1.DenseReluDense.wi.weight", (16, 8), LAYER),
    ],
    "bert": [
        ("bert.embeddings.word_embeddings.weight", (40, 8), TABLE),
        ("bert.embeddings.position_ids", (1, 16), NO_FLOATS, "I64"),
        ("bert.encoder.embedding_hidden_mapping_in.weight", (8, 4), LAYER),
        ("bert.pooler.dense.weight", (8, 8), LAYER),
    ],
    "home-made language models": [
        ("tok_emb.weight", (40, 8), TABLE),
        ("token_emb.weight", (40, 8), TABLE),
        ("word_emb.weight", (40, 8), TABLE),
        ("pos_emb.weight", (16, 8), TABLE),
        ("decoder.embed_tokens.0.weight", (40, 8), TABLE),
        ("embed_tokens.modules_to_save.default.weight", (40, 8), TABLE),
        ("token_embd.weight", (40, 8), TABLE),
        ("blk.0.attn_q.weight", (8, 8), LAYER),
    ],
    "mixtral": [
        ("layers.0.block_sparse_moe.gate.weight", (4, 8), ROUTER),
        ("layers.0.block_sparse_moe.experts.0.w1.weight", (16, 8), EXPERTS),
        ("layers.0.mlp.gate_proj.weight", (16, 8), LAYER),
        ("layers.1.gate.weight", (16, 8), LAYER),
    ],
    "experts in one tensor": [
        ("mlp.experts.gate_up_proj", (4, 8, 32), EXPERTS),
        ("mlp.experts.gate_up_proj_bias", (4, 32), BIAS),
        ("mlp.experts.down_proj", (4, 16, 8), EXPERTS),
        ("mlp.router.weight", (4, 8), ROUTER),
        ("ffn.experts.mlp.w1", (64, 8), EXPERTS),
        ("ffn.router.layer.weight", (4, 8), ROUTER),
        ("moe.input_linear.weight", (4, 16, 8), LAYER),
        ("moe.router.layer.weight", (4, 8), ROUTER),
    ],
    "vit": [
        ("cls_token", (1, 1, 8), VECTOR),
        ("pos_embed", (1, 17, 8), TABLE),
        ("patch_embed.proj.weight", (8, 3, 4, 4), LAYER),
        ("conv_embed.weight", (8, 3, 4), LAYER),
        ("decoder_embed.weight", (8, 8), LAYER),
        ("decoder_embed.bias", (8,), VECTOR),
        ("blocks.0.attn.in_proj_weight", (24, 8), LAYER),
        ("blocks.0.attn.q_proj_weight", (8, 8), LAYER),
        ("attn.relative_position_bias_table", (49, 2), TABLE),
        ("attn.relative_position_index", (16, 16), NO_FLOATS, "I64"),
        ("layers.0.attn_mask", (4, 16, 16), MASK),
    ],
    "clip": [
        ("positional_embedding", (16, 8), TABLE),
        ("text_projection", (8, 8), UNNAMED),
        ("logit_scale", (), VECTOR),
        ("vision_model.embeddings.class_embedding", (8,), VECTOR),
        ("vision_model.embeddings.patch_embedding.weight", (8, 3, 4, 4), LAYER),
        ("vision_model.embeddings.position_embedding.weight", (17, 8), TABLE),
        ("text_projection.weight", (8, 8), LAYER),
    ],
    "diffusion": [
        ("time_embedding.linear_1.weight", (32, 8), LAYER),
        ("time_embed.0.weight", (32, 8), LAYER),
        ("time_embed.0.bias", (32,), VECTOR),
        ("y_embedder.embedding_table.weight", (11, 8), TABLE),
        ("pos_embed.proj.weight", (8, 4, 2, 2), LAYER),
        ("scale_shift_table", (2, 8), TABLE),
        ("quantize.embedding.weight", (32, 4), TABLE),
        ("quantizer.layers.0.codebook.embed", (32, 4), TABLE),
        ("quantizer.layers.0.codebook.embed_avg", (32, 4), STATISTIC),
    ],
    "segmentation": [
        ("mask_decoder.iou_token.weight", (1, 8), TABLE),
        ("mask_decoder.mask_tokens.weight", (4, 8), TABLE),
        ("prompt_encoder.point_embeddings.0.weight", (1, 8), TABLE),
        ("head.weight", (1, 8, 1, 1), LAYER),
        ("head.bias", (1,), VECTOR),
        ("attn.rel_pos_h", (27, 8), TABLE),
        ("model.22.dfl.conv.weight", (1, 16, 1, 1), VECTOR),
        ("up.weight", (8, 4, 2, 2), LAYER),
        ("up.bias", (4,), VECTOR),
    ],
    "gains": [
        ("norm.weight", (8, 4, 4), GAIN),
        ("norm.bias", (8, 4, 4), BIAS),
        ("scaled.weight", (8, 4), GAIN),
        ("scaled.bias", (8, 4), BIAS),
        ("gain", (1, 8, 1, 1), VECTOR),
        ("n.weight", (1, 8, 1, 1), VECTOR),
        ("layer_norm1.weight", (4, 4), GAIN),
        ("norm1.linear.weight", (48, 8), LAYER),
        ("bn.running_mean", (8,), STATISTIC),
    ],
    "recurrent": [
        ("rnn.weight_ih_l0", (32, 8), LAYER),
        ("rnn.weight_hh_l1_reverse", (32, 8), LAYER),
        ("rnn.weight_hr_l0", (4, 8), LAYER),
        ("cell.weight_ih", (24, 8), LAYER),
        ("rnn.bias_ih_l0", (32,), VECTOR),
    ],
    "parts of weights": [
        ("a.weight_g", (8, 1, 1), WEIGHT_NORM),
        ("a.weight_v", (8, 4, 3), WEIGHT_NORM),
        ("b.parametrizations.weight.original0", (8, 1), PARAMETRIZED),
        ("b.parametrizations.weight.original1", (8, 4), PARAMETRIZED),
        ("c.weight_orig", (8, 4), SPECTRAL_NORM),
        ("c.weight_u", (8,), SPECTRAL_NORM),
        ("c.weight_v", (4,), SPECTRAL_NORM),
        ("d.weight_orig", (8, 4), TORCH_PRUNED),
        ("d.weight_mask", (8, 4), TORCH_PRUNED),
        ("q_proj.lora_A.default.weight", (2, 8), ADAPTER),
        ("lora_unet_q.lora_down.weight", (2, 8), ADAPTER),
        ("other.weight_v", (8, 4), UNNAMED),
    ],
    "states": [
        ("l0.weight", (8, 8), LAYER),
        ("optimizer.exp_avg.l0.weight", (8, 8), OPTIMIZER),
        ("l0.weight.exp_avg_sq", (8, 8), OPTIMIZER),
        ("state.0.momentum_buffer", (8, 8), OPTIMIZER),
        ("ema.l0.weight", (8, 8), AVERAGE),
        ("model_ema.l0.weight", (8, 8), AVERAGE),
        ("schema.l0.weight", (8, 8), LAYER),
    ],
    "quantised": [
        ("a.weight", (8, 8), "F8_E4M3", "F8_E4M3"),
        ("a.weight_scale_inv", (1, 1), SCALE),
        ("b.weight", (8, 8), "I8", "I8"),
        ("c.qweight", (1, 8), "I32", "I32"),
        ("c.scales", (1, 8), SCALE),
        ("mlp.experts.gate_up_proj_blocks", (4, 8, 2, 16), "U8", "U8"),
    ],
}


@pytest.mark.parametrize("package", ALBUM)
def test_an_album_of_checkpoints(package):
    tensors = {name: Form(shape, *dtype) for name, shape, _, *dtype in ALBUM[package]}
    found = {name: role.what for name, role in roles.roles(tensors).items()}
    expected = {name: getattr(role, "what", role) for name, _, role, *_ in ALBUM[package]}
    assert found == expected


def test_a_file_of_a_moving_average_and_nothing_else_is_about_that():
    tensors = {"ema.l0.weight": Form((8, 8)), "ema.tok_emb.weight": Form((8, 8))}
    found = roles.roles(tensors)
    assert [role.what for role in found.values()] == [LAYER.what, TABLE.what]


@pytest.mark.parametrize(
    ("name", "tensors", "order"),
    [
        ("fc.weight", {"fc.weight": (8, 4), "fc.bias": (8,)}, "oi"),
        ("up.weight", {"up.weight": (8, 4, 2, 2), "up.bias": (4,)}, "io"),
        ("h.0.mlp.c_fc.weight", {"h.0.mlp.c_fc.weight": (4, 16), "h.0.mlp.c_fc.bias": (16,)}, "io"),
        ("h.0.mlp.c_fc.weight", {"h.0.mlp.c_fc.weight": (16, 4), "h.0.mlp.c_fc.bias": (16,)}, "oi"),
        # A square one is as those are that it stands by: nanoGPT's are Linear, GPT-2's are not.
        ("a.c_proj.weight", {"a.c_proj.weight": (4, 4), "a.c_attn.weight": (4, 12)}, "io"),
        ("a.c_proj.weight", {"a.c_proj.weight": (4, 4), "a.c_attn.weight": (12, 4)}, "oi"),
        ("o_proj.weight", {"o_proj.weight": (4, 4), "a.c_attn.weight": (4, 12)}, "oi"),
        ("m.input_linear.weight", {"m.input_linear.weight": (3, 8, 4)}, "eoi"),
        ("experts.w1", {"experts.w1": (12, 4)}, None),
    ],
)
def test_where_inputs_and_outputs_lie(name, tensors, order):
    assert layout(name, forms(**tensors)) == order


@pytest.mark.parametrize(
    ("up", "down", "order"),
    [((3, 4, 16), (3, 8, 4), "eio"), ((3, 16, 4), (3, 4, 8), "eoi"), ((3, 4, 4), (3, 4, 4), None)],
)
def test_the_layout_of_experts_is_told_by_both_projections(up, down, order):
    tensors = {"experts.gate_up_proj": Form(up), "experts.down_proj": Form(down)}
    assert [layout(name, tensors) for name in tensors] == [order, order]


def test_a_head_that_is_equal_to_the_table_of_words_is_that_table(tmp_path):
    words = torch.randn(9, 4)
    tensors = {"embed_tokens.weight": words, "lm_head.weight": words.clone()}
    save_file(tensors | {"q.weight": torch.randn(9, 4)}, tmp_path / "tied.safetensors")
    found = roles_of(TensorFile(tmp_path / "tied.safetensors"))
    assert found == {"embed_tokens.weight": TABLE, "lm_head.weight": TIED, "q.weight": LAYER}


@pytest.mark.parametrize(
    "name", ["densenet121", "mobilenet_v3_small", "swin_v2_t", "vit_b_16", "maxvit_t", "raft_small"]
)
def test_names_tell_what_the_modules_of_torchvision_tell(name):
    with torch.device("meta"):
        model = get_model(name, weights=None)
    tensors = {n: Form(tuple(t.shape)) for n, t in model.state_dict().items()}
    found = roles.roles(tensors)
    assert {n for n, role in found.items() if role.pruned} == prunable(model).keys()


def test_a_layout_that_a_tensor_cannot_have_is_refused(tmp_path):
    path = tmp_path / "s.scores.safetensors"
    written(path, "scores", {"a": torch.ones(2, 2)}, {"layouts": {"a": "eio"}})
    with pytest.raises(BadInput, match="its layout of 'a' is damaged"):
        layouts_of(TensorFile(path), ["a"])
