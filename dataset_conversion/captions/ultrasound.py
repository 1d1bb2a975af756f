"""Which captions speak of an ultrasound image: by their words alone, because PMC-OA names no modality.

A caption is chosen when one of ``TERMS`` is left in it after the ``OTHER_USES`` of such words have been taken out.
"""

import re

from dataset_conversion.captions.cleaning import clean_caption

TERMS = (
    r"ultraso(?:und|nogra)\w*",
    r"ultrasonic(?:ally)?[ -](?:\w+[ -])?(?:imag\w+|scan\w*|exam\w+|appearance\w*|finding\w*|view\w*|diagnos\w+)",
    r"sonogra\w*",
    r"echo(?:cardio|-cardio)?gra(?:m|ms|phy|phic|phical|phically)\b",
    r"doppler",
    r"[bm]-mode",
    r"(?:an|hyper|hypo|iso)[ -]?echo(?:ic|genic)\w*",
)
"""Whatever their case: ultrasound, sonography, echocardiography, Doppler, B-mode, and the words for echoes."""
ABBREVIATIONS = (
    r"(?:EUS|IVUS|TRUS|TVUS|CEUS|POCUS|FAST-US|TTE|TEE)(?!\w)",
    r"US(?:[ -](?:\w+[ -])?(?:imag\w+|scan\w*|exam\w+|view\w*|finding\w*|picture\w*|elastogra\w+))",
)
"""In capitals alone: ``us`` is a word."""
OTHER_USES = (
    r"ultraso(?:und|nic|nically)[ -](?:\w+[ -])?"
    r"(?:bath\w*|clean\w+|homogeni\w+|disrupt\w+|irradiat\w+|weld\w+|atomi[sz]\w+|nebuli[sz]\w+|vocali[sz]\w+|calls?"
    r"|extract\w+|emulsif\w+|dispers\w+|treat\w+|vibrat\w+|scal(?:er|ing)\w*|microbubble synthesis|assisted|sensor\w*)",
    r"ultraso(?:und|nic)[ -](?:\w+[ -])?(?:assisted|induced|mediated|stimulat\w+|neuromodulation|therap\w+)",
    r"(?:focused|high[ -]intensity focused|low[ -]intensity(?: pulsed)?|pulsed|therapeutic)[ -]ultrasound\w*",
    r"(?:without|no)[ -](?:ultrasound|doppler)\b",
    r"laser[ -]doppler(?: flowmetry)?",
    r"doppler[ -](?:shift\w*|broadening|effect|optical coherence\w*|oct|lidar|radar|width)",
    r"(?:iso|hypo|hyper)echogenicity index",
)
"""Ultrasound that cleans, heals or breaks, the calls of animals, and Doppler with light."""

TERM = re.compile(rf"(?<!\w)(?:{'|'.join(TERMS)})", re.IGNORECASE)
ABBREVIATION = re.compile(rf"(?<!\w)(?:{'|'.join(ABBREVIATIONS)})")
OTHER_USE = re.compile(rf"(?<!\w)(?:{'|'.join(OTHER_USES)})", re.IGNORECASE)
OTHER_MODALITY = re.compile(
    r"(?<!\w)(?:comput\w+ tomogra\w+|CT|PET|SPECT|MRI?|magnetic resonance|radiogra\w+|x-?rays?|mammogra\w+|histolog\w+"
    r"|hematoxylin|H&E|immunohisto\w+|microscop\w+|endoscop(?:y|ic view)|photograph\w*|angiogra\w+)(?!\w)",
    re.IGNORECASE,
)
HINT = re.compile(r"(?i:ultraso|sono|echo.{0,2}[cgi]|doppler|[bm].{0,2}mode)|US|TTE|TEE")
"""Occurs in every caption that a term can be found in; quick to look for in a million others."""


def speaks_of_ultrasound(caption: str) -> bool:
    """Does the caption name ultrasound as what its image, or one of its images, was made with?

    >>> speaks_of_ultrasound("Doppler sonography of the thyroid"), speaks_of_ultrasound("cleaned in an ultrasonic bath")
    (True, False)
    """
    if not HINT.search(caption):
        return False
    rest = OTHER_USE.sub(" ", clean_caption(caption))
    return bool(TERM.search(rest) or ABBREVIATION.search(rest))


def names_another_modality(caption: str) -> bool:
    """Does the caption also name CT, MR, X-ray, histology or the like? Its image may show that instead."""
    return bool(OTHER_MODALITY.search(caption))
