"""Data as text in a page: compressed, and free of markup."""

import base64
import gzip
import json
from typing import Any

__all__ = ["packed", "packed_json", "script_json"]


def packed(data: bytes) -> str:
    """Compress bytes into text without ``<``: gzip in base64. The same bytes give the same text."""
    return base64.b64encode(gzip.compress(data, compresslevel=9, mtime=0)).decode("ascii")


def packed_json(value: Any) -> str:
    """Compress a value, as JSON, into text; see `packed`."""
    return packed(json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode())


def script_json(value: Any) -> str:
    """Write a value as JSON that is safe in a script element, whatever texts it holds."""
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e").replace("\u2028", "\\u2028")
