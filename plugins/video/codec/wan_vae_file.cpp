#include "wan_vae_file.hpp"

#include <algorithm>
#include <array>
#include <utility>

namespace lact::video {
namespace {

/// What the port calls the parts of a name; each at most once in a name, and in this order.
constexpr std::array<std::pair<const char*, const char*>, 11> kPort = {{
    {".conv1.", ".conv_in."},
    {".head.0.", ".norm_out."},
    {".head.2.", ".conv_out."},
    {".middle.0.", ".mid_block.resnets.0."},
    {".middle.1.", ".mid_block.attentions.0."},
    {".middle.2.", ".mid_block.resnets.1."},
    {".residual.0.", ".norm1."},
    {".residual.2.", ".conv1."},
    {".residual.3.", ".norm2."},
    {".residual.6.", ".conv2."},
    {".shortcut.", ".conv_shortcut."},
}};

}  // namespace

VaeFile::VaeFile(const io::Checkpoint& file, std::string where, at::Device device,
                 at::ScalarType dtype)
    : file_(file),
      where_(std::move(where)),
      device_(device),
      dtype_(dtype),
      port_(file.contains("encoder.conv_in.weight")) {
  if (!port_ && !file.contains("encoder.conv1.weight"))
    refuse("no video VAE: expected tensor encoder.conv1.weight or encoder.conv_in.weight");
}

std::string VaeFile::stored(std::string name) const {
  // The two convolutions at the latent; some official files have the port's names for them.
  if (name.starts_with("conv1.") || name.starts_with("conv2.")) {
    const auto port = (name[4] == '1' ? "quant_conv." : "post_quant_conv.") + name.substr(6);
    return file_.contains(port) || port_ ? port : name;
  }
  if (!port_) return name;
  for (const auto& [official, port] : kPort) {
    const auto at = name.find(official);
    if (at != std::string::npos) name.replace(at, std::string(official).size(), port);
  }
  return name;
}

bool VaeFile::has(const std::string& official) const {
  return file_.contains(stored(official));
}

at::Tensor VaeFile::take(const std::string& official, const std::vector<int64_t>& shape) const {
  const auto name = stored(official);
  if (!file_.contains(name)) refuse("tensor ", io::printable(name), " is missing");
  const auto& found = file_.entry(name).shape;
  bool fits = found.size() == shape.size();
  for (size_t i = 0; fits && i < shape.size(); ++i)
    fits = shape[i] < 0 ? found[i] > 0 : found[i] == shape[i];
  if (!fits)
    refuse("tensor ", io::printable(name), ": expected ", at::IntArrayRef(shape), ", found ",
           at::IntArrayRef(found));
  taken_.insert(name);
  const auto tensor = file_.tensor(name);
  if (!tensor.is_floating_point())
    refuse("tensor ", io::printable(name), ": expected a floating dtype, found ",
           tensor.dtype().name());
  const auto bytes = tensor.contiguous();
  hash_.update(bytes.const_data_ptr(), bytes.nbytes());
  return tensor.to(device_, dtype_, /*non_blocking=*/false, /*copy=*/true);
}

at::Tensor VaeFile::gain(const std::string& official, int64_t width) const {
  std::vector<int64_t> shape(has(official) ? file_.entry(stored(official)).shape.size() : 1, 1);
  if (shape.empty()) shape.push_back(1);
  shape[0] = width;
  return take(official, shape).flatten();
}

bool VaeFile::has_any(const std::string& prefix) const {
  for (const char* leaf : {".residual.2.weight", ".resample.1.weight"})
    if (has(prefix + leaf)) return true;
  return false;
}

std::vector<std::string> VaeFile::samplers(const std::string& side) const {
  std::vector<std::string> all;
  const bool down = side == "encoder";
  if (!port_ || down) {
    const auto list = side + (port_ ? ".down_blocks." : down ? ".downsamples." : ".upsamples.");
    while (has_any(concat(list, all.size()))) all.push_back(concat(list, all.size()));
    return all;
  }
  for (size_t stage = 0;; ++stage) {
    const auto before = all.size();
    const auto block = concat(side, ".up_blocks.", stage);
    for (size_t i = 0; has_any(concat(block, ".resnets.", i)); ++i)
      all.push_back(concat(block, ".resnets.", i));
    if (has_any(block + ".upsamplers.0")) all.push_back(block + ".upsamplers.0");
    if (all.size() == before) return all;
  }
}

void VaeFile::check_all_taken() const {
  for (const auto& name : file_.names())
    if ((name.starts_with("encoder.") || name.starts_with("decoder.")) && taken_.count(name) == 0)
      refuse("tensor ", io::printable(name), " has no place; is one before it missing?");
}

std::string VaeFile::next_key() {
  return concat("vae.", keys_++);
}

}  // namespace lact::video
