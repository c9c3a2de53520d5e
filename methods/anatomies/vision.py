"""Images: ViT, and CLIP with its tower for texts beside the one for images."""

from __future__ import annotations

from peftnas.methods.anatomies.family import Family, Stack, SublayerPaths, Tap

VIT = Family(
    name="vit",
    model_types=("vit",),
    norm_order="pre",
    positions="learned",
    stacks=(
        Stack(
            layers="layers",
            linears={
                "query": "attention.q_proj",
                "key": "attention.k_proj",
                "value": "attention.v_proj",
                "output": "attention.o_proj",
                "up": "mlp.fc1",
                "down": "mlp.fc2",
            },
            sublayers={
                "attention": SublayerPaths(
                    residual=Tap("layernorm_before", 0, "input"),
                    exit="attention",
                    norm="layernorm_before",
                    core="attention",
                ),
                "ffn": SublayerPaths(
                    residual=Tap("layernorm_after", 0, "input"),
                    exit="mlp",
                    norm="layernorm_after",
                ),
            },
            causal=False,
            tokens=None,
            embeddings="embeddings",
            word_embeddings=None,
            patches="embeddings.patch_embeddings.projection",
            outer_linears={"pooler": "pooler.dense"},
            outer_norms={"final_norm": "layernorm"},
            optional=("pooler",),
        ),
    ),
)

_CLIP_LINEARS = {
    "query": "self_attn.q_proj",
    "key": "self_attn.k_proj",
    "value": "self_attn.v_proj",
    "output": "self_attn.out_proj",
    "up": "mlp.fc1",
    "down": "mlp.fc2",
}
_CLIP_SUBLAYERS = {
    "attention": SublayerPaths(
        residual=Tap("layer_norm1", 0, "input"),
        exit="self_attn",
        norm="layer_norm1",
        core="self_attn",
    ),
    "ffn": SublayerPaths(
        residual=Tap("layer_norm2", 0, "input"),
        exit="mlp",
        norm="layer_norm2",
    ),
}

CLIP = Family(
    name="clip",
    model_types=("clip",),
    norm_order="pre",
    positions="learned",
    stacks=(
        Stack(
            name="text",
            entry="text_model",
            layers="text_model.encoder.layers",
            linears=_CLIP_LINEARS,
            sublayers=_CLIP_SUBLAYERS,
            causal=True,
            # its output is read at the place of the last word among the ids, which a prompt moves
            embeddings=None,
            word_embeddings=None,
            outer_norms={"final_norm": "text_model.final_layer_norm"},
            config="text_config",
        ),
        Stack(
            name="vision",
            entry="vision_model",
            layers="vision_model.encoder.layers",
            linears=_CLIP_LINEARS,
            sublayers=_CLIP_SUBLAYERS,
            causal=False,
            tokens=None,
            embeddings="vision_model.embeddings",
            word_embeddings=None,
            patches="vision_model.embeddings.patch_embedding",
            outer_linears={
                "visual_projection": "visual_projection",
                "text_projection": "text_projection",
            },
            outer_norms={
                "embeddings_norm": "vision_model.pre_layrnorm",
                "final_norm": "vision_model.post_layernorm",
            },
            optional=("visual_projection", "text_projection"),
            config="vision_config",
        ),
    ),
)
