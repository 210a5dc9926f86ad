#include "volume/gdcm_shim.h"

#include <cstdlib>
#include <cstring>
#include <istream>
#include <map>
#include <new>
#include <set>
#include <sstream>
#include <streambuf>
#include <utility>

#include <gdcmCSAHeader.h>
#include <gdcmImageReader.h>
#include <gdcmJPEGCodec.h>
#include <gdcmReader.h>
#include <gdcmSequenceOfItems.h>
#include <gdcmTrace.h>

namespace {

// A stream over bytes that stay where they are.
class memory_buffer : public std::streambuf {
  public:
    memory_buffer(const unsigned char *bytes, size_t size) {
        char *start = const_cast<char *>(reinterpret_cast<const char *>(bytes));
        setg(start, start, start + size);
    }

  protected:
    pos_type seekoff(off_type offset, std::ios_base::seekdir way, std::ios_base::openmode) override {
        off_type from = way == std::ios_base::beg   ? 0
                        : way == std::ios_base::cur ? gptr() - eback()
                                                    : egptr() - eback();
        off_type to = from + offset;
        if (to < 0 || to > egptr() - eback()) return pos_type(off_type(-1));
        setg(eback(), eback() + to, egptr());
        return pos_type(to);
    }
    pos_type seekpos(pos_type at, std::ios_base::openmode which) override {
        return seekoff(off_type(at), std::ios_base::beg, which);
    }
};

// GDCM's messages quote the file; the flags are global and always set to the same.
void silence() {
    gdcm::Trace::DebugOff();
    gdcm::Trace::WarningOff();
    gdcm::Trace::ErrorOff();
}

const gdcm::DataSet &as_set(const tomo_gdcm_set *set) {
    return *reinterpret_cast<const gdcm::DataSet *>(set);
}
const tomo_gdcm_set *from_set(const gdcm::DataSet &set) {
    return reinterpret_cast<const tomo_gdcm_set *>(&set);
}

using sequence = gdcm::SmartPointer<gdcm::SequenceOfItems>;

} // namespace

struct tomo_gdcm {
    gdcm::Reader reader;
    // With implicit value representation GDCM makes a sequence anew at each request; here it is kept, so that
    // pointers to its items stay valid.
    std::map<std::pair<const gdcm::DataSet *, gdcm::Tag>, sequence> sequences;
};

tomo_gdcm *tomo_gdcm_parse(const unsigned char *bytes, size_t size, bool pixels) {
    tomo_gdcm *file = nullptr;
    try {
        silence();
        file = new tomo_gdcm;
        memory_buffer buffer(bytes, size);
        std::istream stream(&buffer);
        file->reader.SetStream(stream);
        bool good = pixels ? file->reader.Read()
                           : file->reader.ReadUpToTag(gdcm::Tag(0x7FE0, 0x0010), std::set<gdcm::Tag>());
        if (good) return file;
    } catch (...) {
    }
    delete file;
    return nullptr;
}

void tomo_gdcm_free(tomo_gdcm *file) {
    delete file;
}

const tomo_gdcm_set *tomo_gdcm_root(const tomo_gdcm *file) {
    return from_set(file->reader.GetFile().GetDataSet());
}

bool tomo_gdcm_value(const tomo_gdcm_set *set, uint16_t group, uint16_t element, const char **bytes,
                     size_t *size) {
    try {
        gdcm::Tag tag(group, element);
        if (!as_set(set).FindDataElement(tag)) return false;
        const gdcm::ByteValue *value = as_set(set).GetDataElement(tag).GetByteValue();
        if (value == nullptr || value->GetLength() == 0) return false;
        *bytes = value->GetPointer();
        *size = value->GetLength();
        return true;
    } catch (...) {
        return false;
    }
}

static gdcm::SequenceOfItems *find_sequence(tomo_gdcm *file, const tomo_gdcm_set *set, uint16_t group,
                                            uint16_t element) {
    gdcm::Tag tag(group, element);
    auto key = std::make_pair(&as_set(set), tag);
    auto found = file->sequences.find(key);
    if (found != file->sequences.end()) return found->second;
    if (!as_set(set).FindDataElement(tag)) return nullptr;
    sequence items = as_set(set).GetDataElement(tag).GetValueAsSQ();
    file->sequences[key] = items;
    return items;
}

size_t tomo_gdcm_item_count(tomo_gdcm *file, const tomo_gdcm_set *set, uint16_t group, uint16_t element) {
    try {
        gdcm::SequenceOfItems *items = find_sequence(file, set, group, element);
        return items == nullptr ? 0 : items->GetNumberOfItems();
    } catch (...) {
        return 0;
    }
}

const tomo_gdcm_set *tomo_gdcm_item(tomo_gdcm *file, const tomo_gdcm_set *set, uint16_t group,
                                    uint16_t element, size_t i) {
    try {
        gdcm::SequenceOfItems *items = find_sequence(file, set, group, element);
        if (items == nullptr || i >= items->GetNumberOfItems()) return nullptr;
        return from_set(items->GetItem(i + 1).GetNestedDataSet());
    } catch (...) {
        return nullptr;
    }
}

size_t tomo_gdcm_csa(const tomo_gdcm_set *set, uint16_t element, const char *name, double *numbers,
                     size_t most) {
    try {
        silence();
        const gdcm::DataSet &data = as_set(set);
        gdcm::PrivateTag tag(0x0029, static_cast<uint16_t>(element & 0xFF), "SIEMENS CSA HEADER");
        gdcm::CSAHeader csa;
        if (!data.FindDataElement(tag) || !csa.LoadFromDataElement(data.GetDataElement(tag))) return 0;
        if (!csa.FindCSAElementByName(name)) return 0;
        const gdcm::ByteValue *value = csa.GetCSAElementByName(name).GetByteValue();
        if (value == nullptr) return 0;
        std::string text(value->GetPointer(), value->GetLength());
        for (char &c : text) c = c == '\\' ? ' ' : c;
        std::istringstream stream(text);
        stream.imbue(std::locale::classic());
        size_t n = 0;
        while (n < most && stream >> numbers[n]) n++;
        return n;
    } catch (...) {
        return 0;
    }
}

static bool decode(const unsigned char *bytes, size_t size, size_t most, tomo_gdcm_pixels *pixels) {
    memory_buffer buffer(bytes, size);
    std::istream stream(&buffer);
    gdcm::ImageReader reader;
    reader.SetStream(stream);
    if (!reader.Read()) return false;
    const gdcm::Image &image = reader.GetImage();
    size_t length = image.GetBufferLength();
    if (length == 0 || length > most) return false;
    pixels->bytes = static_cast<unsigned char *>(calloc(1, length));
    if (pixels->bytes == nullptr || !image.GetBuffer(reinterpret_cast<char *>(pixels->bytes))) return false;
    const gdcm::PixelFormat &format = image.GetPixelFormat();
    pixels->size = length;
    pixels->columns = image.GetDimension(0);
    pixels->rows = image.GetDimension(1);
    pixels->frames = image.GetNumberOfDimensions() > 2 ? image.GetDimension(2) : 1;
    pixels->samples = format.GetSamplesPerPixel();
    pixels->bits_allocated = format.GetBitsAllocated();
    pixels->bits_stored = format.GetBitsStored();
    pixels->is_signed = format.GetPixelRepresentation() == 1;
    return true;
}

bool tomo_gdcm_decode(const unsigned char *bytes, size_t size, size_t most, tomo_gdcm_pixels *pixels) {
    *pixels = tomo_gdcm_pixels();
    bool good = false;
    try {
        silence();
        good = decode(bytes, size, most, pixels);
    } catch (...) {
    }
    if (!good) {
        free(pixels->bytes);
        pixels->bytes = nullptr;
    }
    return good;
}

static bool decode_jpeg12(const unsigned char *bytes, size_t size, size_t most, tomo_gdcm_pixels *pixels) {
    memory_buffer buffer(bytes, size);
    std::istream stream(&buffer);
    gdcm::Reader reader;
    reader.SetStream(stream);
    if (!reader.Read()) return false;
    gdcm::JPEGCodec codec;
    const unsigned dimensions[3] = {pixels->columns, pixels->rows, pixels->frames};
    codec.SetNumberOfDimensions(pixels->frames > 1 ? 3 : 2);
    codec.SetDimensions(dimensions);
    // GDCM chooses among its codecs of 8, 12 and 16 bits by BitsAllocated.
    codec.SetPixelFormat(gdcm::PixelFormat(1, 12, 12, 11, pixels->is_signed ? 1 : 0));
    codec.SetPhotometricInterpretation(gdcm::PhotometricInterpretation::MONOCHROME2);
    gdcm::DataElement out;
    if (!codec.Decode(reader.GetFile().GetDataSet().GetDataElement(gdcm::Tag(0x7FE0, 0x0010)), out))
        return false;
    const gdcm::ByteValue *value = out.GetByteValue();
    if (value == nullptr || value->GetLength() == 0 || value->GetLength() > most) return false;
    pixels->size = value->GetLength();
    pixels->bytes = static_cast<unsigned char *>(malloc(pixels->size));
    if (pixels->bytes == nullptr) return false;
    memcpy(pixels->bytes, value->GetPointer(), pixels->size);
    pixels->samples = 1;
    pixels->bits_allocated = 16;
    pixels->bits_stored = 12;
    return true;
}

bool tomo_gdcm_decode_jpeg12(const unsigned char *bytes, size_t size, size_t most, tomo_gdcm_pixels *pixels) {
    pixels->bytes = nullptr;
    try {
        silence();
        return decode_jpeg12(bytes, size, most, pixels);
    } catch (...) {
        return false;
    }
}
