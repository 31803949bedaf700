"""Why libsndfile does not read a recording, in words for whoever has the file.

Some of its texts say what is wrong with a file; others speak of its own calls, of writing, or of nothing ("System
error", "Internal psf_fseek() failed"). The first are kept, for the rest the file is damaged: its bytes were read.
"""

from __future__ import annotations

__all__ = ["NOT_KNOWN", "UNKNOWN_FORMAT", "reason_of"]

UNKNOWN_FORMAT = 1
NO_FRAME_FOUND = 7
"""It says that there is no such file where mpg123 found no frame of an mp3."""

NOT_KNOWN = "not a recording in any format known here"
NOT_READ = "in an encoding that cannot be read here"
OWN_WORDS = {
    UNKNOWN_FORMAT: NOT_KNOWN,
    NO_FRAME_FOUND: NOT_KNOWN,
    **dict.fromkeys((4, 18, 78, 92, 100, 106, 110, 117, 123), NOT_READ),
    32: "it has no channels",
    33: "it claims too many channels",
    34: "it claims an impossible number of channels",
}
TRUE_OF_A_FILE = {
    *range(61, 91),  # wav, aiff
    *range(92, 95),  # au
    *range(98, 120),  # paf, 8svx, sphere, voc
    *range(121, 144),  # ircam, w64, mat, pvf, xi
    *range(146, 148),  # sds
    *range(149, 156),  # sd2, flac
    158,  # "flac decoder lost sync"
    160,  # "flac channel changed mid stream"
    *range(165, 168),  # rf64
    *range(177, 183),  # caf, avr, mpc2k
}
PREFIXES = ("Error : ", "Error in ", "Error. ", "Error: ")


def reason_of(error: Exception) -> str:
    """A reason for an error of soundfile, beginning in lower case and without a full stop."""
    code = getattr(error, "code", 0)
    if code in OWN_WORDS:
        return OWN_WORDS[code]
    if code not in TRUE_OF_A_FILE:
        return "damaged"
    said = str(getattr(error, "error_string", error)).rstrip(". ")
    for prefix in PREFIXES:
        said = said.removeprefix(prefix)
    return "damaged: " + said.replace(". ", ": ")
