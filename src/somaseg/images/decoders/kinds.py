"""What a file is, by its first bytes."""

import re
from pathlib import Path

# Kind -> its first bytes, as a pattern.
SIGNATURES = {
    "PNG": rb"\x89PNG\r\n\x1a\n",
    "JPEG": rb"\xff\xd8\xff",
    "TIFF": rb"II[\x2a\x2b]\0|MM\0[\x2a\x2b]",
    "GIF": rb"GIF8[79]a",
    "BMP": rb"BM.{12}[\x0c\x28\x38\x40\x6c\x7c]\0\0\0",
    "WebP": rb"RIFF.{4}WEBP",
    "JPEG 2000": rb"\0\0\0\x0cjP  \r\n\x87\n|\xff\x4f\xff\x51",
    "CZI": rb"ZISRAWFILE\0",
    "LIF": rb"\x70\0\0\0.{4}\x2a",
    "ND2": rb"\xda\xce\xbe\x0a",
    "JPEG XL": rb"\xff\x0a|\0\0\0\x0cJXL \r\n\x87\n",
    "JPEG XR": rb"II\xbc",
    "AVIF or HEIF": rb".{4}ftyp(?:avi|hei|hev|mif|msf)",
    "DICOM": rb".{128}DICM",
    "HDF5": rb"\x89HDF\r\n\x1a\n",
    "NumPy": rb"\x93NUMPY",
    "ZIP": rb"PK\x03\x04",
    "PDF": rb"%PDF",
    "FITS": rb"SIMPLE  =",
    "NRRD": rb"NRRD000",
    "Photoshop": rb"8BPS",
    "OIB or ZVI": rb"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1",
    "SVG": rb"(?:\xef\xbb\xbf)?\s*(?:<\?xml[^>]*>\s*)?<svg",
    "PNM": rb"P[1-7][\s#]",
    "ICO": rb"\0\0\x01\0[\x01-\x40]\0",
    "OpenEXR": rb"v/1\x01",
}
PATTERNS = {kind: re.compile(pattern, re.DOTALL) for kind, pattern in SIGNATURES.items()}
RASTERS = ("PNG", "JPEG", "GIF", "BMP", "WebP", "JPEG 2000")
MICROSCOPES = {"CZI": ".czi", "LIF": ".lif", "ND2": ".nd2"}
READ = (*RASTERS, "TIFF", *MICROSCOPES)


def kind_of(path: Path) -> str | None:
    """Name of the format of a file, one of `SIGNATURES`; None where its first bytes are those of none.

    Raises:
        OSError: when it cannot be read.
    """
    with path.open("rb") as file:
        head = file.read(132)  # DICOM is told by the last of them
    return next((kind for kind, pattern in PATTERNS.items() if pattern.match(head)), None)
