#pragma once
// The tensors of a pickled checkpoint by name.

#include <lact/io/pickle.hpp>
#include <lact/io/safetensors.hpp>

#include <filesystem>
#include <map>
#include <string>

namespace lact::io {

struct NamedPickle {
  SafeTensors::Entry entry;  // bytes from 0 to its own size
  PickledTensor tensor;
};

/// True of *.pt, *.pth, *.ckpt and *.bin.
bool is_pickle(const std::filesystem::path& file);

/// What the file's dict holds: of its entry "model" or "state_dict", if that is a dict, else of the
/// whole. Dicts in dicts give names with dots; what is no tensor is left out. Wrappers' parts of
/// names are removed: `_checkpoint_wrapped_module.` and `_orig_mod.` anywhere, `module.` in front.
/// Errors   65 naming file and tensor: as read_pickle(), a name twice, no tensor at all; 66
std::map<std::string, NamedPickle> open_pickle(const std::filesystem::path& file);

}  // namespace lact::io
