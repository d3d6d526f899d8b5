"""The picture in a body: the body itself, the file of a multipart form (browsers, `curl --form`), or base64 in JSON.

JSON as other servers take it: {"image": TEXT}, {"inputs": TEXT} (Hugging Face), {"instances": [{"b64": TEXT}]} (TensorFlow
Serving) or {"instances": [{"image_bytes": {"b64": TEXT}}]} (KServe v1). TEXT is base64, or a data: URL with base64.
"""

from __future__ import annotations

import base64
import json
from typing import Any, Final

from python_multipart import create_form_parser
from python_multipart.multipart import Field, File

from export.service.refusals import Refusal

EXPECTED: Final = '{"image": BASE64}, {"inputs": BASE64} or {"instances": [{"b64": BASE64}]}, one image'
FORM: Final = "multipart/form-data"
JSON: Final = "application/json"
FIELDS: Final = 16  # limit of fields beside the file; they are ignored


def picture(body: bytes, *, content_type: str) -> bytes:
    """The bytes of the image file in `body`. Refusal 400 for a damaged form or JSON, and unless it has exactly one file."""
    kind = content_type.partition(";")[0].strip().lower()
    if kind == JSON:
        return _of_json(body)
    if kind != FORM:
        return body
    files: list[File] = []
    fields: list[Field] = []

    def on_file(file: File) -> None:
        files.append(file)
        _refuse_many(len(files), most=1, what="files")

    def on_field(field: Field) -> None:
        fields.append(field)
        _refuse_many(len(fields), most=FIELDS, what="fields")

    try:
        # In memory: the body's size is limited, and a container's file system may be read-only.
        parser = create_form_parser(
            {"Content-Type": content_type.encode("latin-1")}, on_field, on_file, {"MAX_MEMORY_FILE_SIZE": len(body) + 1}
        )
        parser.write(body)
        parser.finalize()
    except Refusal:
        raise
    except Exception as error:  # the parser's errors, and any other that a hostile form causes
        raise Refusal(400, f"the form cannot be read ({type(error).__name__}: {str(error)[:80]}); send it whole") from error
    if not files:
        raise Refusal(400, "the form holds no file; expected one, a JPEG or PNG, for example curl --form image=@street.png")
    files[0].file_object.seek(0)
    return files[0].file_object.read()


def _of_json(body: bytes) -> bytes:
    try:
        text = _text_in(json.loads(body))
    except (ValueError, RecursionError) as error:
        raise Refusal(400, f"the body is not JSON ({str(error)[:80]}); send the image itself, or {EXPECTED}") from error
    if text is None:
        raise Refusal(400, f"JSON without an image; expected {EXPECTED}")
    if text.startswith("data:"):
        text = text.partition(",")[2]
    try:
        return base64.b64decode(text, validate=True)
    except ValueError as error:
        raise Refusal(400, f"the image in JSON is not base64 ({str(error)[:80]}); encode the file's bytes") from error


def _text_in(value: Any) -> str | None:
    """The base64 of the one image in a JSON value, or None."""
    if not isinstance(value, dict):
        return None
    instances = value.get("instances")
    if isinstance(instances, list) and len(instances) == 1 and isinstance(instances[0], dict):
        found = instances[0].get("image_bytes", instances[0])
        value = {"image": found.get("b64")} if isinstance(found, dict) else {}
    text = value.get("image", value.get("inputs"))
    return text if isinstance(text, str) else None


def _refuse_many(count: int, *, most: int, what: str) -> None:
    if count > most:
        raise Refusal(400, f"a form of more than {most} {what}; send one image in a request")
