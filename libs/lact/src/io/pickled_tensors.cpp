#include "pickled_tensors.hpp"

#include <lact/error.hpp>
#include <lact/io/files.hpp>

#include "descriptor.hpp"

#include <algorithm>
#include <array>

namespace lact::io {
namespace {

using Kind = Value::Kind;

std::string without_wrappers(std::string name) {
  for (const std::string_view part : {"_checkpoint_wrapped_module.", "_orig_mod."})
    for (auto at = name.find(part); at != name.npos; at = name.find(part, at))
      name.erase(at, part.size());
  constexpr std::string_view kModule = "module.";
  while (name.compare(0, kModule.size(), kModule) == 0) name.erase(0, kModule.size());
  return name;
}

class Collector {
 public:
  explicit Collector(std::string file) : file_(std::move(file)) {}
  std::map<std::string, NamedPickle> tensors;

  void collect(const Value& dict, const std::string& before) {
    for (const auto& [key, value] : dict.pairs()) {
      if (key.kind() != Kind::text) continue;  // an optimizer's, by number
      if (value.kind() != Kind::tensor && value.kind() != Kind::dict) continue;
      const auto name = concat(before, key.text());
      if (value.kind() == Kind::dict)
        collect(value, name + ".");  // no deeper than read_pickle allows
      else
        add(name, value.tensor());
    }
  }

 private:
  void add(const std::string& full, const PickledTensor& tensor) {
    const auto name = without_wrappers(full);
    if (!is_utf8(name))
      throw Error(Exit::data, file_, ": tensor ", printable(name), ": its name is not UTF-8");
    SafeTensors::Entry entry{name, std::string(tensor.dtype()), tensor.shape(), 0, tensor.bytes(),
                             ""};
    if (!tensors.emplace(name, NamedPickle{std::move(entry), tensor}).second)
      throw Error(Exit::data, file_, ": tensor ", printable(name), ": comes twice");
  }

  std::string file_;
};

}  // namespace

bool is_pickle(const std::filesystem::path& file) {
  constexpr std::array kSuffixes{".pt", ".pth", ".ckpt", ".bin"};
  return std::find(kSuffixes.begin(), kSuffixes.end(), file.extension()) != kSuffixes.end();
}

std::map<std::string, NamedPickle> open_pickle(const std::filesystem::path& file) {
  const auto value = read_pickle(file);
  const Value* dict = &value;
  for (const char* key : {"state_dict", "model"})
    if (const auto* inner = value.find(key); inner != nullptr && inner->kind() == Kind::dict)
      dict = inner;
  if (dict->kind() != Kind::dict)
    throw Error(Exit::data, file.string(), ": expected a dict of tensors, found ", value.word());
  Collector collector(file.string());
  collector.collect(*dict, "");
  if (collector.tensors.empty())
    throw Error(Exit::data, file.string(), ": expected a dict of tensors, found none in it");
  return std::move(collector.tensors);
}

}  // namespace lact::io
