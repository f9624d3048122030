/* The C side of a plugin: what the host reads before any C++ object crosses. */
#ifndef LACT_PLUGIN_ABI_H
#define LACT_PLUGIN_ABI_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Rises whenever lact_plugin or lact::plugin::Modality changes. */
#define LACT_PLUGIN_ABI 5u

/* LACT_BUILD_STAMP (compiler, LibTorch, C++ ABI) is in <lact/plugin/stamp.h>, which the
   build makes: equal stamps mean that C++ objects may cross. */

typedef struct lact_plugin {
  uint32_t abi;           /* LACT_PLUGIN_ABI of the headers it was built against */
  const char* build;      /* LACT_BUILD_STAMP of the same */
  const char* name;       /* "text" */
  const char* summary;    /* one line for `lact-bench plugins` */
  void* (*create)(void);  /* a new lact::plugin::Modality; called after the stamp was
                             compared, so that it may throw what std::exception is */
  void (*destroy)(void*); /* frees what create() returned */
} lact_plugin;

/* The one symbol a plugin exports. May not allocate, throw, log or touch a device. */
#define LACT_PLUGIN_SYMBOL "lact_plugin_describe"
const lact_plugin* lact_plugin_describe(void);

#ifdef __cplusplus
}
#endif
#endif
