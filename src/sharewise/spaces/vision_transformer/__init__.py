"""Vision transformers (AutoFormer): `space.py` (values, no torch), `network.py` (the plain network), `supernet.py`."""

from sharewise.spaces.vision_transformer.space import (
    vision_transformer_base,
    vision_transformer_small,
    vision_transformer_tiny,
)

__all__ = ["vision_transformer_base", "vision_transformer_small", "vision_transformer_tiny"]
