"""Operations on the extents of images: pooling and interpolation."""

from __future__ import annotations

from sharewise.supernet.elastic.call import Call
from sharewise.supernet.elastic.recorder import Outputs, Recorder
from sharewise.supernet.elastic.rules.registry import rule

__all__: list[str] = []


@rule(
    "max_pool1d", "max_pool2d", "max_pool3d", "avg_pool1d", "avg_pool2d", "avg_pool3d", "adaptive_avg_pool1d",
    "adaptive_avg_pool2d", "adaptive_max_pool2d", "upsample_nearest1d", "upsample_nearest2d", "upsample_bilinear2d",
    "upsample_bicubic2d", "_upsample_bilinear2d_aa", "interpolate", "max_pool2d_with_indices",
)  # fmt: skip
def _spatial(r: Recorder, call: Call) -> Outputs:
    """All but the trailing dimensions stay."""
    dims = r.dims(call.tensor("self", "input"))
    extents = 1 if "1d" in call.operation else 3 if "3d" in call.operation else 2
    r.fix(dims[-extents:], f"it is an extent of the image that {call.name} in {call.path} reads")
    outputs = r.outputs(call)
    for made in outputs:
        r.fix(made[-extents:], f"it is an extent of the image that {call.name} in {call.path} writes")
        r.same(made[:-extents], dims[:-extents])
    return outputs if call.several else outputs[0]
