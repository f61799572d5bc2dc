from __future__ import annotations

from torch import nn

from prunecli.models._resnet import ResNet


def resnet32(input_shape: tuple[int, int, int], classes: int, *, thin: float = 1.0) -> nn.Module:
    """ResNet-32 for 32x32 images; 0.46 M parameters with 10 classes.

    `thin`: floor(sqrt(thin) C) channels in place of C.

    Source: He et al., Deep Residual Learning, CVPR 2016, section 4.2 (shortcuts: option A)
    """
    return ResNet(input_shape, classes, blocks=5, thin=thin)
