// Plugins that are right, or wrong in one way each: -DFAKE_... chooses.

#include "fake_modality.hpp"

#include <lact/plugin/abi.h>
#include <lact/plugin/stamp.h>

#include <stdexcept>

#ifndef FAKE_ABI
#define FAKE_ABI LACT_PLUGIN_ABI
#endif
#ifndef FAKE_STAMP
#define FAKE_STAMP LACT_BUILD_STAMP
#endif
#ifndef FAKE_ANSWER
#define FAKE_ANSWER &description
#endif
#ifndef FAKE_SYMBOL
#define FAKE_SYMBOL lact_plugin_describe
#endif

void lact_does_not_have_this();

namespace {

void* create() {
#ifdef FAKE_UNRESOLVED
  lact_does_not_have_this();
#endif
#if defined(FAKE_NULL)
  return nullptr;
#elif defined(FAKE_THROW)
  throw std::runtime_error("no microphone");
#else
  return make_fake();
#endif
}

}  // namespace

extern "C" const lact_plugin* FAKE_SYMBOL(void) {
  [[maybe_unused]] static const lact_plugin description = {
      FAKE_ABI, FAKE_STAMP, FAKE_NAME, "a fake of the tests", create, delete_fake};
  return FAKE_ANSWER;
}
