"""What all pages share: base template, style, pictures inside the page, and the policy of its content.

Pages run no script but the one of the template, which the content security policy names by its hash, and load
nothing: neither a file name nor a message can do more than be shown.
"""

from __future__ import annotations

import base64
import hashlib
import io
from pathlib import Path
from typing import Any

from PIL import Image as PillowImage

from glualign.arrays import Bytes
from glualign.errors import import_extra
from glualign.files import write_text

_QUALITY = 86


def write_page(path: Path, template: str, *, script: str = "", **values: Any) -> None:
    """Write an HTML page of ``values``, whose text is escaped.

    ``template`` is a file of ``glualign/report/templates`` that extends ``base.html``, ``script`` another
    one there, which the page runs.

    Raises:
        MissingExtraError: Jinja2 is not installed.
        OutputError: the page cannot be written.
    """
    found = page_templates()
    code, style = (found.loader.get_source(found, name)[0] if name else "" for name in (script, "style.css"))
    digest = base64.b64encode(hashlib.sha256(code.encode()).digest()).decode("ascii")
    policy = f"'sha256-{digest}'" if code else "'none'"
    page = found.get_template(template)
    text: str = page.render(style=style, script=code, script_source=policy, **values)
    write_text(path, text, "backslashreplace")


def page_templates() -> Any:
    """The Jinja2 environment with our templates; a `MissingExtraError` says that Jinja2 is not installed."""
    jinja = import_extra("jinja2", "report", "HTML pages need Jinja2")
    files, undefined = jinja.PackageLoader("glualign.report"), jinja.StrictUndefined
    how = {"trim_blocks": True, "lstrip_blocks": True, "autoescape": True}
    return jinja.Environment(loader=files, undefined=undefined, **how)


def picture_url(picture: Bytes, *, lossless: bool = False) -> str:
    """An RGB or RGBA picture as a ``data:`` URL (WebP)."""
    buffer = io.BytesIO()
    PillowImage.fromarray(picture).save(buffer, "WEBP", quality=_QUALITY, method=4, lossless=lossless)
    return "data:image/webp;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")
