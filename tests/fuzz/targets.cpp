#include "targets.hpp"

#include <algorithm>
#include <fstream>
#include <iterator>
#include <stdexcept>

namespace lact::fuzz {
namespace {

struct Folder {
  std::filesystem::path path;
  Folder() {
    const bool memory = std::filesystem::is_directory("/dev/shm");
    auto name = (memory ? "/dev/shm" : std::filesystem::temp_directory_path()) / "lact-fuzz-XXXXXX";
    std::string text = name.string();
    if (::mkdtemp(text.data()) == nullptr) throw std::runtime_error("mkdtemp: " + text);
    path = text;
  }
  ~Folder() {
    std::error_code ignored;
    std::filesystem::remove_all(path, ignored);
  }
};

}  // namespace

const std::filesystem::path& scratch() {
  static const Folder folder;
  return folder.path;
}

void put(const std::filesystem::path& file, const std::string& bytes) {
  std::ofstream out(file, std::ios::binary | std::ios::trunc);
  out.write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
  if (!out.flush()) throw std::runtime_error("cannot write " + file.string());
}

std::string get(const std::filesystem::path& file) {
  std::ifstream in(file, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

void use(const void* data, size_t bytes) {
  static volatile unsigned char sum = 0;
  const auto* from = static_cast<const unsigned char*>(data);
  for (size_t i = 0; i < bytes; ++i) sum = static_cast<unsigned char>(sum + from[i]);
}

const std::vector<Target>& targets() {
  static const std::vector<Target> all = [] {
    std::vector<Target> list;
    for (const auto& some : {io_targets(), pickle_targets(), config_targets(), text_targets(),
                             media_targets(), views_targets(), video_targets(), model_targets()})
      list.insert(list.end(), some.begin(), some.end());
    return list;
  }();
  return all;
}

bool accepts(const Target& target, const std::string& bytes) {
  try {
    target.attempt(bytes);
    return true;
  } catch (const Error& error) {
    const auto& known = target.refusals;
    if (std::find(known.begin(), known.end(), error.code()) == known.end())
      throw std::logic_error(concat(target.name, ": refused with exit code ",
                                    static_cast<int>(error.code()), ": ", error.what()));
    const std::string words = error.what();
    if (words.size() > 2000 || words.find('\n') != std::string::npos)
      throw std::logic_error(target.name + ": the refusal is no line: " + words.substr(0, 2000));
    return false;
  }
}

}  // namespace lact::fuzz
