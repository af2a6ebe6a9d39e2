"""The CNN hybrid: a ViT that reads a CNN's feature map instead of raw patches (Dosovitskiy et al. 2021,
section 3.1).

"An Image is Worth 16x16 Words", https://arxiv.org/abs/2010.11929. A transformers ResNet is cut after
the stage whose total stride equals the ViT's patch size P, so that photos of H x W pixels give a
feature map of H/P x W/P places. Each place is one token (a patch of 1 x 1), projected to the hidden
size. The grid of tokens, the position embeddings and the encoder are those of the plain ViT.

What one photo gives never depends on the others in its batch, not even in training, so that small
batches, a last batch of one photo and several processes compute the same. A new ResNet has group
normalisation, as the paper's (without its standardised convolutions). A pretrained one has batch
normalisation, whose statistics stay the pretrained ones, as is usual in detection; its scales and
shifts learn.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar, cast

import torch
from torch import Tensor, nn
from transformers import (
    ResNetBackbone,
    ResNetConfig,
    ViTConfig,
    ViTForImageClassification,
    ViTImageProcessorPil,
)

from vit_demo.common.errors import UserError
from vit_demo.model.checkpoints import HYBRID_TYPE, Checkpoint, incomplete

if TYPE_CHECKING:
    from transformers.models.vit.modeling_vit import ViTPatchEmbeddings

NEW = "new"
NORMS = ("group", "batch")
# Of the group normalisation: as good as a fixed number of groups (Wu and He 2018, table 3), and fit for
# narrow layers.
CHANNELS_IN_A_GROUP = 16
# A new ResNet, stage by stage, with one basic block in each: at stride 16 about a sixth of ViT-Tiny's cost.
NEW_CHANNELS = (32, 64, 128, 256)
# The first convolution of a ResNet and the pooling after it halve the sides each.
FIRST_STRIDE = 4
# What decides how pixels become numbers: it belongs to whoever reads the pixels.
PIXEL_SETTINGS = ("do_rescale", "rescale_factor", "do_normalize", "image_mean", "image_std", "resample")

_PATCHES = "vit.embeddings.patch_embeddings."


class HybridViTConfig(ViTConfig):
    """The config of the ViT with that of the ResNet in front.

    patch_size: the total stride of the ResNet. backbone_config: the ResNet, no deeper than it is used.
    backbone_norm: one of NORMS; "batch" is with fixed statistics.
    """

    model_type: ClassVar[str] = HYBRID_TYPE

    backbone_config: dict[str, Any] | ResNetConfig | None = None
    backbone_norm: str = "group"

    def __post_init__(self, **kwargs: Any) -> None:
        if isinstance(self.backbone_config, dict):
            self.backbone_config = ResNetConfig(**self.backbone_config)
        super().__post_init__(**kwargs)  # type: ignore[no-untyped-call]  # the library has no types here


class ResNetStem(nn.Module):
    """Pixels (B, 3, H, W) to the last feature map of a ResNet, (B, channels, H / stride, W / stride), rounded
    up.
    """

    def __init__(self, resnet: ResNetBackbone):
        super().__init__()
        # Its parts and not itself: a model in a model would be asked for the attention it does not have.
        self.embedder, self.encoder = resnet.embedder, resnet.encoder

    def forward(self, pixel_values: Tensor) -> Tensor:
        features: Tensor = self.encoder(self.embedder(pixel_values)).last_hidden_state
        return features


class HybridPatchEmbeddings(nn.Module):
    """In the place of ``ViTPatchEmbeddings``: pixels (B, 3, H, W) to tokens (B, H/P * W/P, hidden size)."""

    def __init__(self, config: HybridViTConfig):
        super().__init__()
        resnet = config.backbone_config
        if (
            not isinstance(resnet, ResNetConfig)
            or total_stride(resnet) != config.patch_size
            or config.backbone_norm not in NORMS
        ):
            raise ValueError("the ResNet does not fit the ViT")
        self.patch_size = config.patch_size
        self.fixed_statistics = config.backbone_norm == "batch"
        self.backbone = ResNetStem(ResNetBackbone(resnet))
        if config.backbone_norm == "group":
            _use_group_norm(self.backbone)
        self.projection = nn.Conv2d(_stages_in(resnet)[1][-1], config.hidden_size, kernel_size=1)
        # As transformers starts the projection of a plain ViT.
        nn.init.trunc_normal_(self.projection.weight, std=config.initializer_range)
        nn.init.zeros_(cast("Tensor", self.projection.bias))

    def feature_map(self, pixel_values: Tensor) -> Tensor:
        """What is projected, (B, channels, H // P, W // P); a remainder of pixels gives no token, as in a
        plain ViT.
        """
        rows, columns = (side // self.patch_size for side in pixel_values.shape[-2:])
        features: Tensor = self.backbone(pixel_values)
        return features[..., :rows, :columns]

    def forward(self, pixel_values: Tensor) -> Tensor:
        projected: Tensor = self.projection(self.feature_map(pixel_values))
        return projected.flatten(2).transpose(1, 2)

    def train(self, mode: bool = True) -> HybridPatchEmbeddings:
        """As in torch, except that fixed statistics stay fixed."""
        super().train(mode)
        if self.fixed_statistics:
            self.backbone.eval()
        return self


class HybridViTForImageClassification(ViTForImageClassification):
    """``ViTForImageClassification`` whose tokens come from a ResNet's feature map."""

    config_class = HybridViTConfig

    def __init__(self, config: HybridViTConfig):
        super().__init__(config)
        # Whoever looks into them tells by the config that they are of the other kind.
        self.vit.embeddings.patch_embeddings = cast("ViTPatchEmbeddings", HybridPatchEmbeddings(config))


def make_hybrid(
    model: ViTForImageClassification, processor: ViTImageProcessorPil, pretrained: Checkpoint | None = None
) -> HybridViTForImageClassification:
    """A hybrid with the encoder, positions and head of a plain ViT; call it without transformers' messages.

    pretrained: the ResNet's checkpoint, None for a small untrained one, drawn from torch's generator. The
    processor takes over how a pretrained ResNet learned to see pixels. Raises UserError where the two do not
    fit.
    """
    patch_size = cast("int", model.config.patch_size)  # all that are opened have square patches
    if pretrained is None:
        resnet, config = None, new_config(patch_size)
    else:
        resnet, own_processor = _load_resnet(pretrained, patch_size)
        config = resnet.config
        for name in PIXEL_SETTINGS:
            setattr(processor, name, getattr(own_processor, name))
    # Built anew from the numbers alone: the config as it was loaded also knows the folder it came from.
    numbers = (
        "embedding_size",
        "hidden_sizes",
        "depths",
        "layer_type",
        "hidden_act",
        "downsample_in_first_stage",
        "downsample_in_bottleneck",
    )
    hybrid_config = HybridViTConfig.from_dict(
        model.config.to_dict() | {"model_type": HYBRID_TYPE},
        backbone_config=ResNetConfig(**{name: getattr(config, name) for name in numbers}),
        backbone_norm="group" if resnet is None else "batch",
    )
    hybrid = HybridViTForImageClassification(hybrid_config)
    if resnet is not None:
        hybrid.vit.embeddings.patch_embeddings.backbone = ResNetStem(resnet)
    kept = {name: tensor for name, tensor in model.state_dict().items() if not name.startswith(_PATCHES)}
    missing, unexpected = hybrid.load_state_dict(kept, strict=False)
    assert not unexpected and all(name.startswith(_PATCHES) for name in missing)
    return hybrid


def new_config(patch_size: int) -> ResNetConfig:
    """A small ResNet with this total stride."""
    stages = _stages(patch_size, first=FIRST_STRIDE)
    if stages is None or stages > len(NEW_CHANNELS):
        raise UserError("error.model.hybrid_patch", patch=patch_size)
    channels = NEW_CHANNELS[:stages]
    return ResNetConfig(
        embedding_size=channels[0], hidden_sizes=channels, depths=(1,) * stages, layer_type="basic"
    )


def total_stride(config: ResNetConfig) -> int:
    """Pixels from one place of the last feature map to the next."""
    depths, _ = _stages_in(config)
    stride: int = FIRST_STRIDE * (2 if config.downsample_in_first_stage else 1) * 2 ** (len(depths) - 1)
    return stride


def _stages_in(config: ResNetConfig) -> tuple[Sequence[int], Sequence[int]]:
    """How many blocks each stage has, and how many channels; ResNetConfig itself fails without them."""
    return cast("Sequence[int]", config.depths), cast("Sequence[int]", config.hidden_sizes)


def _stages(patch_size: int, first: int) -> int | None:
    """How many stages have a total stride of ``patch_size`` where the first one has ``first``; None: no
    number does.
    """
    return next((count for count in range(1, 9) if first * 2 ** (count - 1) == patch_size), None)


def _load_resnet(found: Checkpoint, patch_size: int) -> tuple[ResNetBackbone, ViTImageProcessorPil]:
    """The ResNet up to the stage with this total stride, and the processor it learned with."""
    try:
        config = ResNetConfig.from_pretrained(found.folder, local_files_only=True)
        stages = _stages(patch_size, first=FIRST_STRIDE * (2 if config.downsample_in_first_stage else 1))
        depths, channels = _stages_in(config)
        fits = stages is not None and stages <= len(depths) == len(channels) and config.num_channels == 3
        if fits:
            cut = {**config.to_dict(), "depths": depths[:stages], "hidden_sizes": channels[:stages]}
            for name in ("stage_names", "out_features", "out_indices"):
                cut.pop(name, None)
            resnet, loading = cast(
                "tuple[ResNetBackbone, dict[str, Any]]",  # with output_loading_info
                ResNetBackbone.from_pretrained(
                    found.folder,
                    config=ResNetConfig.from_dict(cut),
                    dtype=torch.float32,
                    use_safetensors=True,
                    local_files_only=True,
                    trust_remote_code=False,
                    output_loading_info=True,
                ),
            )
        # Of any ResNet's processor only the PIXEL_SETTINGS are used, which all processors share.
        processor = ViTImageProcessorPil.from_pretrained(found.folder, local_files_only=True)
    except Exception as error:  # a config made by others can trip transformers anywhere
        raise UserError("error.model.resnet_files", name=found.name, error=type(error).__name__) from error
    if not fits:
        raise UserError("error.model.resnet_stride", name=found.name, stride=patch_size)
    if loading["missing_keys"]:
        raise incomplete(found.name, len(loading["missing_keys"]))
    return resnet, processor


def _use_group_norm(module: nn.Module) -> None:
    """Replace each batch normalisation inside."""
    for name, child in module.named_children():
        if isinstance(child, nn.BatchNorm2d):
            groups = max(1, child.num_features // CHANNELS_IN_A_GROUP)
            setattr(module, name, nn.GroupNorm(groups, child.num_features))
        else:
            _use_group_norm(child)
