#include "models.hpp"

#include <lact/error.hpp>
#include <lact/io/files.hpp>

#include <algorithm>
#include <cmath>
#include <map>
#include <set>
#include <sstream>

namespace lact::views::objects {
namespace {

namespace fs = std::filesystem;

constexpr const char* kCatalog = "PluginFurnitureCatalog.properties";
constexpr uint64_t kMostBytes = uint64_t{1} << 26;
constexpr size_t kLongestName = 120;

char lower(char c) {
  return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
}

std::string trimmed(std::string_view text) {
  const auto begin = text.find_first_not_of(" \t\r\f");
  if (begin == std::string_view::npos) return "";
  return std::string(text.substr(begin, text.find_last_not_of(" \t\r\f") + 1 - begin));
}

/// \uXXXX as a letter of Latin-1, or - where it is none.
std::string unescaped(std::string text) {
  for (size_t at = 0; (at = text.find("\\u", at)) != std::string::npos; ++at) {
    const auto digits = text.substr(at + 2, 4);
    if (digits.size() < 4 ||
        digits.find_first_not_of("0123456789abcdefABCDEF") != std::string::npos)
      continue;
    const auto code = std::stoul(digits, nullptr, 16);
    text.replace(at, 6, 1, code < 0x100 ? static_cast<char>(code) : '-');
  }
  return text;
}

/// Nine numbers that are a rotation; anything else leaves the model as it is.
Rotation parse_rotation(const std::string& text) {
  std::istringstream in(text);
  in.imbue(std::locale::classic());
  Rotation out{}, plain{1, 0, 0, 0, 1, 0, 0, 0, 1};
  for (auto& one : out)
    if (!(in >> one)) return plain;
  for (size_t i = 0; i < 3; ++i)
    for (size_t j = 0; j < 3; ++j) {
      double sum = i == j ? -1 : 0;
      for (size_t k = 0; k < 3; ++k) sum += out[3 * i + k] * out[3 * j + k];
      if (!(std::abs(sum) < 1e-3)) return plain;
    }
  return out;
}

/// The catalogue of the nearest folder above a file, if there is one.
class Catalogs {
 public:
  const CatalogEntry* find(const fs::path& file) {
    const auto whole = fs::absolute(file).lexically_normal();
    for (auto folder = whole.parent_path();; folder = folder.parent_path()) {
      const auto& catalog = of(folder);
      if (!catalog.empty()) {
        const auto entry = catalog.find(whole.lexically_relative(folder).generic_string());
        return entry == catalog.end() ? nullptr : &entry->second;
      }
      if (folder == folder.parent_path()) return nullptr;
    }
  }

 private:
  const Catalog& of(const fs::path& folder) {
    const auto [at, fresh] = read_.try_emplace(folder.string());
    std::error_code ignored;
    if (fresh && fs::is_regular_file(folder / kCatalog, ignored))
      at->second = parse_catalog(io::read_text(folder / kCatalog, kMostBytes));
    return at->second;
  }
  std::map<std::string, Catalog> read_;
};

/// Folders and file, joined by dots; "chair/chair.obj" is "chair".
std::string name_of_path(const fs::path& relative) {
  auto parts = relative;
  parts.replace_extension();
  std::string out, last;
  for (const auto& part : parts) {
    if (part == "." || part == ".." || part == last) continue;
    last = part.string();
    out += (out.empty() ? "" : ".") + plain_name(last);
  }
  return out;
}

struct ObjectFile {
  fs::path file, relative;
  bool operator<(const ObjectFile& other) const {
    return file.generic_string() < other.file.generic_string();
  }
};

bool is_obj(const fs::path& file) {
  auto suffix = file.extension().string();
  std::transform(suffix.begin(), suffix.end(), suffix.begin(), lower);
  return suffix == ".obj";
}

std::vector<ObjectFile> files_of(const std::vector<std::string>& where) {
  std::vector<ObjectFile> out;
  for (const auto& one : where) {
    std::error_code error;
    const auto status = fs::status(one, error);
    if (!fs::exists(status)) throw Error(Exit::no_input, one, ": no such file or folder");
    if (!fs::is_directory(status)) {
      out.push_back({one, fs::path(one).filename()});
      continue;
    }
    fs::recursive_directory_iterator at(one, error), end;
    for (; !error && at != end; at.increment(error)) {
      std::error_code ignored;
      if (is_obj(at->path()) && fs::is_regular_file(at->path(), ignored))
        out.push_back({at->path(), at->path().lexically_relative(one)});
    }
    if (error) throw Error(Exit::no_input, one, ": ", error.message());
  }
  std::sort(out.begin(), out.end());
  out.erase(std::unique(out.begin(), out.end(),
                        [](const auto& a, const auto& b) { return a.file == b.file; }),
            out.end());
  return out;
}

}  // namespace

std::string plain_name(std::string_view text, bool latin1) {
  // From 0xC0 on; '-' where there is no letter.
  static constexpr std::string_view kLetters =
      "AAAAAAACEEEEIIIIDNOOOOO-OUUUUYTsaaaaaaaceeeeiiiidnooooo-ouuuuyty";
  std::string out;
  for (char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    const bool letter = (lower(c) >= 'a' && lower(c) <= 'z') || (c >= '0' && c <= '9');
    if (byte >= 0x80 && latin1)
      c = byte >= 0xC0 ? kLetters[byte - 0xC0] : '-';
    else if (byte < 0x80 && !letter && c != '_')
      c = '-';
    if (c != '-' || (!out.empty() && out.back() != '-')) out += c;
  }
  while (!out.empty() && out.back() == '-') out.pop_back();
  return out;
}

Catalog parse_catalog(std::string_view text) {
  std::map<std::string, CatalogEntry> entries;  // by what stands behind #
  std::map<std::string, std::string> models;
  while (!text.empty()) {
    const auto end = text.find('\n');
    const auto line = text.substr(0, end);
    text.remove_prefix(end == std::string_view::npos ? text.size() : end + 1);
    const auto equals = line.find('='), number = line.find('#');
    if (equals == std::string_view::npos || number == std::string_view::npos || number > equals)
      continue;
    const auto key = trimmed(line.substr(0, number));
    const auto id = trimmed(line.substr(number + 1, equals - number - 1));
    const auto value = trimmed(line.substr(equals + 1));
    if (key == "name")
      entries[id].name = unescaped(value);
    else if (key == "modelRotation")
      entries[id].rotation = parse_rotation(value);
    else if (key == "model")
      models[id] = value.substr(std::min(value.find_first_not_of('/'), value.size()));
  }
  Catalog out;
  for (const auto& [id, model] : models) out[model] = entries[id];
  return out;
}

std::vector<Model> find_models(const std::vector<std::string>& where) {
  Catalogs catalogs;
  std::set<std::string> used;
  std::vector<Model> out;
  for (const auto& found : files_of(where)) {
    Model model{found.file, name_of_path(found.relative)};
    if (const auto* entry = catalogs.find(found.file)) {
      model.rotation = entry->rotation;
      auto name = plain_name(entry->name, /*latin1=*/true);
      std::transform(name.begin(), name.end(), name.begin(), lower);
      if (!name.empty()) model.name = name + "." + plain_name(found.file.stem().string());
    }
    if (model.name.size() > kLongestName) model.name.resize(kLongestName);
    if (model.name.empty()) model.name = "model";
    const auto first = model.name;
    for (int64_t n = 2; !used.insert(model.name).second; ++n)
      model.name = first + "." + std::to_string(n);
    out.push_back(std::move(model));
  }
  if (out.empty()) throw Error(Exit::usage, where.front(), ": no OBJ file there");
  return out;
}

}  // namespace lact::views::objects
