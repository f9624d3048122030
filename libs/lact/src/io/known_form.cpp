#include <lact/error.hpp>
#include <lact/io/known_form.hpp>

#include <algorithm>

namespace lact::io {
namespace {

using namespace std::string_view_literals;

struct Form {
  std::string_view name, magic;
  size_t at = 0;
};

constexpr Form kForms[] = {
    {"gzip data", "\x1f\x8b\x08"sv},
    {"zstd data", "\x28\xb5\x2f\xfd"sv},
    {"xz data",
     "\xfd"
     "7zXZ\0"sv},
    {"bzip2 data", "1AY&SY"sv, 4},
    {"lz4 data", "\x04\x22\x4d\x18"sv},
    {"a ZIP archive", "PK\x03\x04"sv},
    {"a ZIP archive", "PK\x05\x06"sv},
    {"a 7-Zip archive", "7z\xbc\xaf\x27\x1c"sv},
    {"a RAR archive", "Rar!\x1a\x07"sv},
    {"a tar archive", "ustar"sv, 257},
    {"a Parquet table", "PAR1"sv},
    {"an Arrow table", "ARROW1"sv},
    {"an Arrow table", "FEA1"sv},
    {"an ORC table", "ORC"sv},
    {"an Avro table", "Obj\x01"sv},
    {"an HDF5 file", "\x89HDF\r\n\x1a\n"sv},
    {"an SQLite database", "SQLite format 3\0"sv},
    {"a NumPy array", "\x93NUMPY"sv},
    {"a GGUF model", "GGUF"sv},
    {"a PNG picture", "\x89PNG\r\n\x1a\n"sv},
    {"a JPEG picture", "\xff\xd8\xff"sv},
    {"a GIF picture", "GIF87a"sv},
    {"a GIF picture", "GIF89a"sv},
    {"a TIFF picture", "II*\0"sv},
    {"a TIFF picture", "MM\0*"sv},
    {"a WebP picture", "WEBP"sv, 8},
    {"a WAV sound", "WAVE"sv, 8},
    {"an AVI film", "AVI "sv, 8},
    {"an MP4 film", "ftyp"sv, 4},
    {"a Matroska film", "\x1a\x45\xdf\xa3"sv},
    {"an Ogg file", "OggS"sv},
    {"a FLAC sound", "fLaC"sv},
    {"an MP3 sound", "ID3"sv},
    {"a PDF document", "%PDF-1."sv},
    {"an ELF program",
     "\x7f"
     "ELF"sv},
    {"UTF-32 text", "\xff\xfe\0\0"sv},
    {"UTF-32 text", "\0\0\xfe\xff"sv},
    {"UTF-16 text", "\xff\xfe"sv},
    {"UTF-16 text", "\xfe\xff"sv},
    {"a pointer of Git LFS", "version https://git-lfs.github.com/spec/"sv},
};

bool is_text(std::string_view bytes) {
  return std::none_of(bytes.begin(), bytes.end(), [](char c) {
    return (c >= 0 && c < ' ' && (c < '\t' || c > '\r')) || c == '\x7f';
  });
}

/// Signs of a few letters are words, too: "ORCHIDS", "MARTIAN WAVES".
bool is(const Form& form, std::string_view head) {
  const bool found = head.size() >= form.at + form.magic.size() &&
                     head.substr(form.at, form.magic.size()) == form.magic;
  const bool word = form.magic.size() < 7 && is_text(form.magic);
  return found && !(word && is_text(head)) && !(form.at == 8 && !head.starts_with("RIFF"));
}

/// Eight bytes of a length, then the header, which is JSON, after white space perhaps.
bool is_safetensors(std::string_view head) {
  return head.size() > 9 && head.find_first_of("{ \t\r\n", 8) == 8 &&
         head.substr(4, 4) == "\0\0\0\0"sv;
}

}  // namespace

std::string_view known_form(std::string_view head) {
  if (is_safetensors(head)) return "safetensors data";
  const auto* form = std::find_if(std::begin(kForms), std::end(kForms),
                                  [&](const Form& one) { return is(one, head); });
  return form != std::end(kForms) ? form->name : "";
}

namespace {

/// What helps with such a file, or "".
std::string_view advice_for(std::string_view form, bool text) {
  if (form == "a pointer of Git LFS") return ": git lfs pull fetches the file itself";
  if (form == "UTF-16 text") return ": convert it with iconv -f UTF-16 -t UTF-8";
  if (form == "UTF-32 text") return ": convert it with iconv -f UTF-32 -t UTF-8";
  if (form == "xz data") return ": decompress it with xz -dc";
  if (form == "bzip2 data") return ": decompress it with bzip2 -dc";
  if (form == "lz4 data") return ": decompress it with lz4 -dc";
  if (text && form.ends_with("archive")) return ": unpack it first";
  if (text && form.ends_with("table")) return ": convert it to JSON lines first";
  return "";
}

}  // namespace

void refuse_other_form(const std::string& file, std::string_view head, std::string_view expected) {
  const auto form = known_form(head);
  if (form.empty()) return;
  throw Error(Exit::data, file, ": is ", form, ", no ", expected,
              advice_for(form, expected == "text"));
}

}  // namespace lact::io
