"""Every transfer syntax of which pydicom ships a file: decoded, to the values of an uncompressed twin, or refused."""

import warnings
from io import BytesIO
from pathlib import Path

import gdcm
import numpy as np
import pydicom
import pytest
import simplejpeg
from pydicom.encaps import encapsulate
from pydicom.uid import ExplicitVRLittleEndian, JPEGBaseline8Bit, JPEGExtended12Bit, JPEGLossless, JPEGLosslessSV1
from source_folders import dicom

from scanline.core.dicom import decode_dicom, frame_count, read_dicom, stored_values
from scanline.core.images import ImageError, Window

FILES = Path(pydicom.__file__).parent / "data/test_files"  # those of the wheel; nothing is downloaded
# Compressed file to one with the same pixels, uncompressed; and by how much lossy compression may differ.
TWINS = {
    "MR_small_RLE.dcm": ("MR_small.dcm", 0),
    "MR_small_jp2klossless.dcm": ("MR_small.dcm", 0),
    "MR_small_jpeg_ls_lossless.dcm": ("MR_small.dcm", 0),
    "MR_small_bigendian.dcm": ("MR_small.dcm", 0),
    "MR_small_implicit.dcm": ("MR_small.dcm", 0),
    "MR_small_padded.dcm": ("MR_small.dcm", 0),
    "rtdose_rle.dcm": ("rtdose.dcm", 0),
    "rtdose_expb.dcm": ("rtdose.dcm", 0),
}
# Grey files without a twin: shape, and the least and largest stored value.
ALONE = {
    "CT_small.dcm": ((128, 128), 128, 2191),
    "693_J2KI.dcm": ((512, 512), None, None),
    "J2K_pixelrep_mismatch.dcm": ((512, 512), None, None),
    "JPEG2000.dcm": ((1024, 256), None, None),
    "JPEGLSNearLossless_08.dcm": ((45, 10), 0, 255),
    "JPEGLSNearLossless_16.dcm": ((50, 10), 0, None),
    "image_dfl.dcm": ((512, 512), 0, 255),
    "examples_overlay.dcm": ((300, 484), None, None),
}
COLOURED = (
    "SC_rgb_jpeg.dcm",
    "SC_rgb_rle.dcm",
    "SC_rgb_jpeg_gdcm.dcm",
    "SC_rgb_gdcm_KY.dcm",
    "SC_rgb_jls_lossy_line.dcm",
)
REFUSED = {"JPEG-lossy.dcm": "not decoded here", "JPGExtended.dcm": "not decoded here", "MR_truncated.dcm": "damaged"}


def stored(name: str) -> np.ndarray:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        dataset = read_dicom((FILES / name).read_bytes())
        return stored_values(dataset)


@pytest.mark.parametrize("name", TWINS)
def test_compressed_pixels_are_those_of_the_uncompressed_twin(name):
    twin, most = TWINS[name]
    expected = stored(twin).astype(np.int64)
    assert np.abs(stored(name).astype(np.int64) - expected).max() <= most
    assert expected.std() > 0


@pytest.mark.parametrize("name", ALONE)
def test_files_without_a_twin_decode(name):
    shape, least, largest = ALONE[name]
    values = stored(name)
    assert values.shape == shape
    assert values.std() > 0
    assert least is None or values.min() == least
    assert largest is None or values.max() == largest
    grey, _ = decode_dicom((FILES / name).read_bytes(), Window(float(values.mean()), float(np.ptp(values))))
    assert grey.shape == shape
    assert grey.dtype == np.uint8


@pytest.mark.parametrize("name", COLOURED)
def test_colours_decode_too_and_are_refused_as_colours(name):
    content = (FILES / name).read_bytes()
    assert pydicom.dcmread(BytesIO(content)).pixel_array.ndim == 3  # JPEG, JPEG Lossless, JPEG-LS, JPEG 2000 and RLE
    with pytest.raises(ImageError, match="DICOM of colours"):
        decode_dicom(content, Window())


def test_frames_of_a_compressed_file_are_those_of_the_whole():
    content = (FILES / "rtdose_rle.dcm").read_bytes()
    dataset = read_dicom(content)
    whole = stored_values(dataset)
    assert frame_count(dataset) == len(whole) == 15
    assert all(np.array_equal(stored_values(dataset, number), whole[number]) for number in (0, 7, 14))


GREY = np.add.outer(np.arange(48), 4 * np.arange(40)).astype(np.uint8)  # smooth, so that lossy JPEG stays near


def eight_bits(syntax: str, values: np.ndarray, stream: bytes | None = None) -> bytes:
    """A file of 8 bits in a transfer syntax, its pixels these or an encoded stream."""
    data = values.tobytes() if stream is None else encapsulate([stream])
    fields = {"BitsAllocated": 8, "BitsStored": 8, "HighBit": 7, "PixelRepresentation": 0, "PixelData": data}
    return dicom(values, syntax=syntax, **fields)


@pytest.mark.parametrize("syntax", [JPEGBaseline8Bit, JPEGExtended12Bit])
def test_grey_jpeg_of_8_bits_decodes(syntax):
    stream = simplejpeg.encode_jpeg(np.ascontiguousarray(GREY[:, :, None]), quality=95, colorspace="GRAY")
    assert stream.count(b"\xff\xc0") == 1  # the marker of a baseline frame
    if syntax == JPEGExtended12Bit:
        stream = stream.replace(b"\xff\xc0", b"\xff\xc1")  # extended sequential, Huffman (ITU-T T.81, Table B.1)
    values = stored_values(read_dicom(eight_bits(syntax, GREY, stream)))
    assert values.dtype == np.uint8
    assert np.abs(values.astype(int) - GREY).max() <= 4


@pytest.mark.parametrize(
    ("syntax", "kind"), [(JPEGLossless, "JPEGLosslessProcess14"), (JPEGLosslessSV1, "JPEGLosslessProcess14_1")]
)
@pytest.mark.parametrize("bits", [8, 16])
def test_jpeg_lossless_decodes_exactly(syntax, kind, bits, tmp_path):
    plain = tmp_path / "plain.dcm"
    values = GREY if bits == 8 else (GREY.astype(np.int16) * 37 - 900)
    plain.write_bytes(eight_bits(ExplicitVRLittleEndian, values) if bits == 8 else dicom(values))
    reader = gdcm.ImageReader()
    reader.SetFileName(str(plain))
    assert reader.Read()
    change = gdcm.ImageChangeTransferSyntax()
    change.SetTransferSyntax(gdcm.TransferSyntax(getattr(gdcm.TransferSyntax, kind)))
    change.SetInput(reader.GetImage())
    assert change.Change()
    writer = gdcm.ImageWriter()
    writer.SetFileName(str(tmp_path / "packed.dcm"))
    writer.SetFile(reader.GetFile())
    writer.SetImage(change.GetOutput())
    assert writer.Write()
    dataset = read_dicom((tmp_path / "packed.dcm").read_bytes())
    assert dataset.file_meta.TransferSyntaxUID == syntax
    assert np.array_equal(stored_values(dataset), values)


@pytest.mark.parametrize("name", REFUSED)
def test_what_does_not_decode_says_why(name):
    with pytest.raises(ImageError, match=REFUSED[name]):
        decode_dicom((FILES / name).read_bytes(), Window())
