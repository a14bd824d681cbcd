"""Names and shapes of the parameters of known models: read from the libraries that have them, on torch's meta device,
or written down where a library packs the experts into one tensor."""

from collections.abc import Callable

import torch

from lambc.experiments.wide_logs import transformer

Shapes = dict[str, tuple[int, ...]]


def named(make: Callable[[], torch.nn.Module]) -> Shapes:
    with torch.device("meta"):
        return {name: tuple(parameter.shape) for name, parameter in make().named_parameters()}


def torchvision(name: str) -> Shapes:
    import torchvision.models

    return named(getattr(torchvision.models, name))


def timm(name: str) -> Shapes:
    import timm

    return named(lambda: timm.create_model(name))


def transformers(config: str, model: str) -> Shapes:
    import transformers

    return named(lambda: getattr(transformers, model)(getattr(transformers, config)()))


def attention(prefix: str) -> Shapes:
    return {f"{prefix}.self_attn.{each}_proj.weight": (8, 8) for each in "qkvo"}


def mixtral() -> Shapes:
    """With a module for each expert, as in its checkpoints."""
    found: Shapes = {"model.embed_tokens.weight": (50, 8)}
    for block in range(32):
        prefix = f"model.layers.{block}"
        found |= attention(prefix) | {f"{prefix}.block_sparse_moe.gate.weight": (8, 8)}
        for expert in range(8):
            found |= {
                f"{prefix}.block_sparse_moe.experts.{expert}.{name}.weight": shape
                for name, shape in {"w1": (32, 8), "w2": (8, 32), "w3": (32, 8)}.items()
            }
        found |= {f"{prefix}.{name}_layernorm.weight": (8,) for name in ("input", "post_attention")}
    return found | {"model.norm.weight": (8,), "lm_head.weight": (50, 8)}


def deepseek() -> Shapes:
    """61 blocks, of which the first 3 are dense, and 56 experts in each of the others: 10,240 tensors."""
    found: Shapes = {"model.embed_tokens.weight": (50, 8)}
    for block in range(61):
        prefix = f"model.layers.{block}"
        found |= attention(prefix) | {f"{prefix}.{name}_layernorm.weight": (8,) for name in ("input", "post_attention")}
        experts = [f"experts.{expert}." for expert in range(56)] if block >= 3 else [""]
        for expert in experts:
            found |= {f"{prefix}.mlp.{expert}{name}_proj.weight": (32, 8) for name in ("gate", "up", "down")}
        if block >= 3:
            found |= {f"{prefix}.mlp.gate.weight": (56, 8)}
    return found | {"model.norm.weight": (8,), "lm_head.weight": (50, 8)}


def unnamed(count: int) -> Shapes:
    """Group and place, which is what a layer without a name is called: weights of growing size, and their biases."""
    return {f"0.{place}": (8 + place // 2, 8) if place % 2 == 0 else (8 + place // 2,) for place in range(count)}


MODELS: dict[str, Callable[[], Shapes]] = {
    "GPT-2": lambda: transformers("GPT2Config", "GPT2LMHeadModel"),
    "Llama": lambda: transformers("LlamaConfig", "LlamaForCausalLM"),
    "Mixtral, packed": lambda: transformers("MixtralConfig", "MixtralForCausalLM"),
    "Mixtral": mixtral,
    "DeepSeek, packed": lambda: transformers("DeepseekV3Config", "DeepseekV3ForCausalLM"),
    "DeepSeek": deepseek,
    "T5": lambda: transformers("T5Config", "T5ForConditionalGeneration"),
    "ViT, timm": lambda: timm("vit_base_patch16_224"),
    "ViT": lambda: torchvision("vit_b_16"),
    "ConvNeXt, timm": lambda: timm("convnext_tiny"),
    "ConvNeXt": lambda: torchvision("convnext_tiny"),
    "ResNet-18": lambda: torchvision("resnet18"),
    "ResNet-50": lambda: torchvision("resnet50"),
    "DenseNet": lambda: torchvision("densenet121"),
    "Swin, timm": lambda: timm("swin_tiny_patch4_window7_224"),
    "MaxViT, timm": lambda: timm("maxvit_tiny_tf_224"),
    "VGG": lambda: torchvision("vgg16_bn"),
    "GPT of 33 blocks": lambda: dict(transformer(33)),
    "unnamed": lambda: unnamed(40),
}
"""By name; each is built when it is asked for."""
