"""The grid of patches that a ViT cuts an image into (Dosovitskiy et al. 2021, section 3.1).

"An Image is Worth 16x16 Words", https://arxiv.org/abs/2010.11929. Patches are counted from 0,
row by row from the top left.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from vit_demo.common.errors import UserError


@dataclass(frozen=True)
class PatchGrid:
    """Where the patches of an image lie; all lengths in pixels of the model's input.

    Where a side is no multiple of ``patch_size``, the remainder at the right or at the bottom
    belongs to no patch: the model's strided convolution does not read it either.
    """

    image_height: int
    image_width: int
    patch_size: int
    channels: int = 3

    @classmethod
    def of(cls, pixel_values: Tensor, patch_size: int) -> PatchGrid:
        """That of photos as a model reads them, (..., H, W)."""
        height, width = pixel_values.shape[-2:]
        return cls(height, width, patch_size)

    def __post_init__(self) -> None:
        if self.patch_size < 1:
            raise UserError("error.explain.patch_size", patch=self.patch_size)
        if min(self.image_height, self.image_width) < self.patch_size:
            raise UserError(
                "error.explain.small", width=self.image_width, height=self.image_height, patch=self.patch_size
            )

    @property
    def rows(self) -> int:
        """Patches from top to bottom, H / P."""
        return self.image_height // self.patch_size

    @property
    def columns(self) -> int:
        """Patches from left to right, W / P."""
        return self.image_width // self.patch_size

    @property
    def num_patches(self) -> int:
        """N = H W / P^2."""
        return self.rows * self.columns

    @property
    def num_tokens(self) -> int:
        """Length of the sequence that the encoder reads: N patches and the [CLS] token."""
        return self.num_patches + 1

    @property
    def values_per_patch(self) -> int:
        """Numbers in one flattened patch, P^2 C."""
        return self.patch_size**2 * self.channels

    def box(self, index: int) -> tuple[int, int, int, int]:
        """Pixels of patch ``index`` as (left, top, right, bottom); right and bottom exclusive."""
        row, column = divmod(self.check(index), self.columns)
        left, top = column * self.patch_size, row * self.patch_size
        return left, top, left + self.patch_size, top + self.patch_size

    def index_at(self, x: float, y: float) -> int:
        """The patch under the point ``x`` pixels from the left and ``y`` from the top."""
        column, row = int(x // self.patch_size), int(y // self.patch_size)
        if not (0 <= column < self.columns and 0 <= row < self.rows):
            raise UserError(
                "error.explain.point",
                x=x,
                y=y,
                width=self.columns * self.patch_size,
                height=self.rows * self.patch_size,
            )
        return row * self.columns + column

    def check(self, index: int) -> int:
        """``index`` itself where the grid has such a patch, else UserError."""
        if not 0 <= index < self.num_patches:
            raise UserError("error.explain.no_patch", index=index, last=self.num_patches - 1)
        return index


def patchify(pixel_values: Tensor, patch_size: int) -> Tensor:
    """Cut images into flattened patches, x_p of the paper's section 3.1.

    pixel_values: (B, C, H, W). Returns (B, N, P*P*C). The values of a patch are ordered
    (C, P, P) as in the weights of the model's convolution, so that eq. 1's projection E is
    ``patchify(x, P) @ conv.weight.flatten(1).T + conv.bias``.
    """
    batch, channels, height, width = pixel_values.shape
    grid = PatchGrid(height, width, patch_size, channels)
    rows, columns = grid.rows, grid.columns
    covered = pixel_values[:, :, : rows * patch_size, : columns * patch_size]
    tiles = covered.reshape(batch, channels, rows, patch_size, columns, patch_size)
    return tiles.permute(0, 2, 4, 1, 3, 5).reshape(batch, grid.num_patches, grid.values_per_patch)


def unpatchify(patches: Tensor, grid: PatchGrid) -> Tensor:
    """Put the patches of :func:`patchify` together again.

    patches: (B, N, P*P*C). Returns (B, C, rows * P, columns * P).
    """
    size, rows, columns = grid.patch_size, grid.rows, grid.columns
    tiles = patches.reshape(-1, rows, columns, grid.channels, size, size)
    return tiles.permute(0, 3, 1, 4, 2, 5).reshape(-1, grid.channels, rows * size, columns * size)
