"""Configuration files as plain values."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from sharewise.errors import ConfigurationError
from sharewise.files import CONFIGURATION_BYTES, read_bytes
from sharewise.strict_yaml import parse_yaml

__all__ = ["read_yaml"]


def read_yaml(path: str | Path) -> dict[str, Any]:
    """Read a configuration file.

    Raises:
        ConfigurationError: when the file is absent or is no mapping in YAML.
    """
    try:
        value = parse_yaml(read_bytes(Path(path), most=CONFIGURATION_BYTES, follow=True))
    except OSError as error:
        raise ConfigurationError(f"cannot read the configuration {path}: {error.strerror}") from None
    except (ValueError, RecursionError, OverflowError) as error:
        raise ConfigurationError(f"{path} is not valid YAML: {' '.join(str(error).split())}") from None
    if not isinstance(value, dict):
        raise ConfigurationError(f"{path} must hold a mapping of options to values, as --print-config shows it")
    return value
