"""The MLP of a CLIP block: QuickGELU between two products, with its factors inside the products.

Dimension key: B batch, T tokens, D width, M hidden width, N = B*T rows.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

SLOPE = 1.702
"""QuickGELU is ``x * sigmoid(1.702 x) = silu(1.702 x) / 1.702`` (Hendrycks and Gimpel 2016, arXiv:1606.08415)."""


class QuickGeluMLP(nn.Module):
    """``c_proj(quick_gelu(c_fc(x)))`` with the parameters and key names of the MLP in open_clip's blocks.

    ``c_fc`` is scaled by 1.702 and ``c_proj`` by its inverse while they are multiplied, which costs nothing, so that
    only a SiLU is left between them, and one hidden tensor is stored for its gradient in place of two.
    """

    def __init__(self, mlp: nn.Sequential) -> None:
        super().__init__()
        self.c_fc = mlp.get_submodule("c_fc")
        self.c_proj = mlp.get_submodule("c_proj")

    def forward(self, tokens_BTD: Tensor) -> Tensor:
        """(B, T, D) -> the same shape."""
        (weight_MD, bias_M), (weight_DM, bias_D) = self.c_fc.parameters(), self.c_proj.parameters()
        rows_ND = tokens_BTD.flatten(0, -2)
        hidden_NM = F.silu(torch.addmm(bias_M, rows_ND, weight_MD.t(), beta=SLOPE, alpha=SLOPE))
        return torch.addmm(bias_D, hidden_NM, weight_DM.t(), alpha=1 / SLOPE).view_as(tokens_BTD)


def reference(mlp: QuickGeluMLP, tokens_BTD: Tensor) -> Tensor:
    """The same as the formula is written."""
    hidden_BTM = mlp.c_fc(tokens_BTD)
    return mlp.c_proj(hidden_BTM * torch.sigmoid(SLOPE * hidden_BTM))
