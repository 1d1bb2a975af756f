"""XML as people send it: parsed without entities, with one clear error for what is broken."""

from pathlib import Path
from typing import TYPE_CHECKING

from defusedxml import DefusedXmlException
from defusedxml.ElementTree import ParseError, fromstring

from htunet.errors import HtunetError
from htunet.files import LARGEST_TEXT, read_bytes

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element


def read_xml(path: Path, most_bytes: int = LARGEST_TEXT) -> "Element":
    """The root; raises HtunetError for a file that is too large, no XML, or not safe to parse (entities)."""
    content = read_bytes(path, most_bytes)
    try:
        root: Element = fromstring(content)
    except DefusedXmlException as error:
        raise HtunetError(f"{path} is refused, it defines entities ({error}). Take it out.") from None
    except (ParseError, ValueError, LookupError) as error:  # an unknown encoding is one of the latter two
        raise HtunetError(f"{path} is not valid XML ({error}). Download it again or take it out.") from None
    return root
