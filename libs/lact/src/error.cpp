#include <lact/error.hpp>

namespace lact {

Error::Error(Exit code, const std::string& what) : std::runtime_error(what), code_(code) {}
Error::~Error() = default;

}  // namespace lact
