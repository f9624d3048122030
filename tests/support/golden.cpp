#include "support/golden.hpp"
#include "support/test.hpp"

#include <algorithm>

namespace lact::test {

const at::Tensor& Golden::at(const std::string& key) const {
  const auto found = tensors.find(key);
  if (found == tensors.end()) throw std::runtime_error(name + ": no tensor " + key);
  return found->second;
}

std::vector<Golden> golden(const std::string& folder, const std::string& kind) {
  std::vector<std::filesystem::path> files;
  for (const auto& item :
       std::filesystem::directory_iterator(source_root() / "tests/golden" / folder))
    if (item.path().extension() == ".safetensors") files.push_back(item.path());
  std::sort(files.begin(), files.end());
  std::vector<Golden> found;
  for (const auto& path : files) {
    const auto file = io::SafeTensors::open(path);
    Golden one{path.stem().string(), nlohmann::json::parse(file.metadata().at("case")), 0, 0, {}};
    if (one.options.at("kind") != kind) continue;
    const auto tolerance = nlohmann::json::parse(file.metadata().at("tolerance")).at("float32");
    one.result_tolerance = tolerance.at(0);
    one.gradient_tolerance = tolerance.at(1);
    for (const auto& entry : file.entries())
      one.tensors[entry.name] = file.tensor(entry.name).to(device(), false, /*copy=*/true);
    found.push_back(std::move(one));
  }
  return found;
}

}  // namespace lact::test
