#include "volume/gdcm_shim.h"

#include <cstring>
#include <sstream>
#include <string>

#include <gdcmImageReader.h>
#include <gdcmJPEGCodec.h>
#include <gdcmReader.h>
#include <gdcmTrace.h>

namespace {

void append16(std::string &file, unsigned value) {
    file += static_cast<char>(value & 0xFF);
    file += static_cast<char>(value >> 8 & 0xFF);
}

void append32(std::string &file, uint32_t value) {
    append16(file, value & 0xFFFF);
    append16(file, value >> 16);
}

// An element with a value representation of 16-bit length, explicit little endian; the value is padded to
// even length.
void append(std::string &file, unsigned group, unsigned element, const char *vr, std::string value) {
    if (value.size() % 2 != 0) value += std::strcmp(vr, "UI") == 0 ? '\0' : ' ';
    append16(file, group);
    append16(file, element);
    file.append(vr, 2);
    append16(file, static_cast<unsigned>(value.size()));
    file += value;
}

void append_short(std::string &file, unsigned group, unsigned element, unsigned value) {
    std::string bytes;
    append16(bytes, value);
    append(file, group, element, "US", bytes);
}

uint32_t get32(const unsigned char *p) {
    return p[0] | static_cast<uint32_t>(p[1]) << 8 | static_cast<uint32_t>(p[2]) << 16 |
           static_cast<uint32_t>(p[3]) << 24;
}

void append_item(std::string &file, const unsigned char *bytes, uint32_t size) {
    append32(file, 0xE000FFFE);
    append32(file, size + size % 2);
    file.append(reinterpret_cast<const char *>(bytes), size);
    if (size % 2 != 0) file += '\0';
}

// The items anew: GDCM has ways of its own with odd lengths and with delimiters that state one.
void append_fragments(std::string &file, const unsigned char *p, size_t size) {
    for (size_t at = 0; size - at >= 16;) { // an item, and the delimiter's 8 bytes behind it
        const uint32_t length = get32(p + at + 4);
        at += 8;
        if (length > size - at) break; // cannot be: the lengths were checked
        append_item(file, p + at, length);
        at += length;
    }
    append32(file, 0xE0DDFFFE);
    append32(file, 0);
}

// The file that GDCM reads: a multi-frame secondary capture around the fragments.
std::string make_file(const tomo_gdcm_image &image, const unsigned char *fragments, size_t size) {
    const char *const sop_class = "1.2.840.10008.5.1.4.1.1.7.3", *const sop = "1.2.3.4";
    std::string meta, file(128, '\0'), length;
    append(meta, 0x0002, 0x0002, "UI", sop_class);
    append(meta, 0x0002, 0x0003, "UI", sop);
    append(meta, 0x0002, 0x0010, "UI", image.transfer_syntax);
    append32(length, static_cast<uint32_t>(meta.size()));
    file += "DICM";
    append(file, 0x0002, 0x0000, "UL", length);
    file += meta;
    append(file, 0x0008, 0x0016, "UI", sop_class);
    append(file, 0x0008, 0x0018, "UI", sop);
    append_short(file, 0x0028, 0x0002, 1);
    append(file, 0x0028, 0x0004, "CS", "MONOCHROME2");
    append(file, 0x0028, 0x0008, "IS", std::to_string(image.frames));
    append_short(file, 0x0028, 0x0010, image.rows);
    append_short(file, 0x0028, 0x0011, image.columns);
    append_short(file, 0x0028, 0x0100, image.bits_allocated);
    append_short(file, 0x0028, 0x0101, image.bits_stored);
    append_short(file, 0x0028, 0x0102, image.bits_stored - 1u);
    append_short(file, 0x0028, 0x0103, image.is_signed ? 1 : 0);
    append16(file, 0x7FE0);
    append16(file, 0x0010);
    file.append("OB\0\0", 4);
    append32(file, 0xFFFFFFFF);
    append_fragments(file, fragments, size);
    return file;
}

// GDCM's reader tries its 8-bit codec on JPEG of 12 bits first, whose libjpeg then complains on stderr; so
// the right codec is called directly.
size_t decode_jpeg12(const tomo_gdcm_image &image, std::istream &stream, unsigned char *out, size_t most,
                     unsigned *bits_allocated) {
    gdcm::Reader reader;
    reader.SetStream(stream);
    if (!reader.Read()) return 0;
    gdcm::JPEGCodec codec;
    const unsigned dimensions[3] = {image.columns, image.rows, image.frames};
    codec.SetNumberOfDimensions(image.frames > 1 ? 3 : 2);
    codec.SetDimensions(dimensions);
    // It chooses among 8, 12 and 16 bits by BitsAllocated.
    codec.SetPixelFormat(gdcm::PixelFormat(1, 12, 12, 11, image.is_signed ? 1 : 0));
    codec.SetPhotometricInterpretation(gdcm::PhotometricInterpretation::MONOCHROME2);
    gdcm::DataElement decoded;
    if (!codec.Decode(reader.GetFile().GetDataSet().GetDataElement(gdcm::Tag(0x7FE0, 0x0010)), decoded))
        return 0;
    const gdcm::ByteValue *value = decoded.GetByteValue();
    if (value == nullptr || value->GetLength() > most) return 0;
    std::memcpy(out, value->GetPointer(), value->GetLength());
    *bits_allocated = 16;
    return value->GetLength();
}

size_t decode(const tomo_gdcm_image &wanted, std::istream &stream, unsigned char *out, size_t most,
              unsigned *bits_allocated) {
    gdcm::ImageReader reader;
    reader.SetStream(stream);
    if (!reader.Read()) return 0;
    const gdcm::Image &image = reader.GetImage();
    const gdcm::PixelFormat &format = image.GetPixelFormat();
    const unsigned frames = image.GetNumberOfDimensions() > 2 ? image.GetDimension(2) : 1;
    const size_t length = image.GetBufferLength();
    if (image.GetDimension(0) != wanted.columns || image.GetDimension(1) != wanted.rows ||
        frames != wanted.frames || format.GetSamplesPerPixel() != 1 || length > most) {
        return 0;
    }
    *bits_allocated = format.GetBitsAllocated();
    return image.GetBuffer(reinterpret_cast<char *>(out)) ? length : 0;
}

} // namespace

size_t tomo_gdcm_decode(const tomo_gdcm_image *image, const unsigned char *fragments, size_t size,
                        unsigned char *out, size_t most, unsigned *bits_allocated) {
    try {
        gdcm::Trace::DebugOff(); // global flags, always set to the same
        gdcm::Trace::WarningOff();
        gdcm::Trace::ErrorOff();
        std::istringstream stream(make_file(*image, fragments, size));
        bool jpeg12 =
            std::strcmp(image->transfer_syntax, "1.2.840.10008.1.2.4.51") == 0 && image->bits_stored > 8;
        return jpeg12 ? decode_jpeg12(*image, stream, out, most, bits_allocated)
                      : decode(*image, stream, out, most, bits_allocated);
    } catch (...) {
        return 0;
    }
}
