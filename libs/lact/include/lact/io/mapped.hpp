#pragma once
// Which file a mapped address belongs to.

namespace lact::io {

/// The path of the open SafeTensors whose mapping holds this address, or null. For a handler of
/// SIGBUS, which is what reading beyond the end of a file that somebody cut gives: takes no lock
/// and no memory.
const char* mapped_file(const void* address);

}  // namespace lact::io
