#pragma once
// The stack machine of a pickle.

#include "pickle_node.hpp"

#include <functional>
#include <memory>
#include <string_view>

namespace lact::io {

/// A storage by its persistent id: ("storage", class, key, location, count[, view]), where `view`
/// is None or (key, offset, count), as PyTorch 0.3 had it.
using FindStorage = std::function<std::shared_ptr<Storage>(Reading&, const std::vector<Value>& id)>;

/// Reads the pickle at the head of `bytes`, which lie in the mapped file, and takes it off.
/// Errors   65 naming the byte
Value run_pickle(Reading& reading, std::string_view& bytes, const FindStorage& find);

}  // namespace lact::io
