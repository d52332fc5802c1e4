"""The reasons for which a file or a picture is not taken in."""

from csss.foundation.errors import TooLarge, Unprocessable, UnsupportedType


class UnsupportedFile(UnsupportedType):
    """The file is of a kind, or coded in a way, that CSSS does not read (415)."""

    code = "unsupported-type"


class FileTooLarge(TooLarge):
    """The file, or the picture that it declares, is over a limit (413)."""

    code = "file-too-large"


class DamagedFile(Unprocessable):
    """The file is cut, inconsistent or not decodable (422)."""

    code = "damaged-file"


class BlankImage(Unprocessable):
    """Every pixel of the picture has the same value (422)."""

    code = "blank-image"


class RefusedFile(Unprocessable):
    """The file is readable, but holds something that CSSS does not accept (422)."""

    code = "refused-file"
