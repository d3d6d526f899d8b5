"""The picture in a body: the body itself, or the file of a multipart form (browsers, `curl --form`)."""

from __future__ import annotations

from typing import Final

from python_multipart import create_form_parser
from python_multipart.multipart import Field, File

from export.service.refusals import Refusal

FORM: Final = "multipart/form-data"
FIELDS: Final = 16  # limit of fields beside the file; they are ignored


def picture(body: bytes, *, content_type: str) -> bytes:
    """The bytes of the image file in `body`. Refusal 400 for a damaged form, and unless it has exactly one file."""
    if content_type.partition(";")[0].strip().lower() != FORM:
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


def _refuse_many(count: int, *, most: int, what: str) -> None:
    if count > most:
        raise Refusal(400, f"a form of more than {most} {what}; send one image in a request")
