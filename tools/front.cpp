// Every binary of lact: finds LibTorch and the code of the tools, which may both have been moved,
// and hands over. It links neither, so that it can say what is missing.

#include <dlfcn.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <optional>
#include <stdexcept>
#include <string>
#include <vector>

namespace fs = std::filesystem;

namespace {

constexpr int kUnavailable = 69;  // sysexits.h; lact::Exit::unavailable
constexpr const char* kModule = "lact-tools.so";
constexpr const char* kTorch = "lib/libtorch_cpu.so";

struct Unavailable : std::runtime_error {
  using runtime_error::runtime_error;
};

/// A set, non-empty variable, unless the program runs with more rights than who started it.
std::optional<std::string> environment(const char* name) {
  const char* value = ::secure_getenv(name);
  return value != nullptr && *value != '\0' ? std::optional<std::string>(value) : std::nullopt;
}

/// What libraries read once, when they are loaded. Who set any of it knows better.
void set_defaults() {
  // Threads that wait for each other spin for milliseconds by default, which costs a factor of ten
  // where something else runs on the same processors.
  if (!environment("OMP_WAIT_POLICY")) ::setenv("GOMP_SPINCOUNT", "5000", 0);
  ::setenv("CUDA_MODULE_LOADING", "LAZY", 0);
}

struct Module {
  fs::path file;
  bool built;  ///< of a build tree, where it knows its LibTorch
};

/// Beside the program in a build tree, else in its installation.
Module find_module() {
  std::error_code ignored;
  const auto bin = fs::read_symlink("/proc/self/exe", ignored).parent_path();
  const auto built = bin / kModule;
  if (fs::exists(built, ignored)) return {built, true};
  return {(bin / LACT_BIN_TO_LIB / "lact" / kModule).lexically_normal(), false};
}

/// The wheel in an environment of Python: lib/python3.N/site-packages/torch.
std::optional<fs::path> in_venv(const fs::path& venv) {
  std::error_code error;
  for (const auto& item : fs::directory_iterator(venv / "lib", error)) {
    const auto torch = item.path() / "site-packages/torch";
    if (fs::exists(torch / kTorch, error)) return torch;
  }
  return {};
}

/// The folder of LibTorch; none: the build tree's own, or the system's.
std::optional<fs::path> find_libtorch(const Module& module) {
  if (const auto named = environment("LACT_LIBTORCH")) {
    std::error_code ignored;
    const auto folder = fs::absolute(*named, ignored);
    if (fs::exists(folder / kTorch, ignored)) return folder;
    throw Unavailable("LACT_LIBTORCH: " + *named + " has no " + kTorch);
  }
  if (module.built) return {};
  std::error_code ignored;
  for (const fs::path& folder :
       {module.file.parent_path() / "libtorch", fs::path(LACT_CONFIGURED_LIBTORCH)})
    if (!folder.empty() && fs::exists(folder / kTorch, ignored)) return folder;
  if (const auto venv = environment("VIRTUAL_ENV")) return in_venv(*venv);
  return {};
}

/// "2.11.0" of include/torch/version.h; "" where that file is not there.
std::string version_of(const fs::path& libtorch) {
  std::ifstream header(libtorch / "include/torch/version.h");
  const std::string start = "#define TORCH_VERSION \"";
  for (std::string line; std::getline(header, line);)
    if (line.rfind(start, 0) == 0) return line.substr(start.size(), line.size() - start.size() - 1);
  return "";
}

void* open(const fs::path& file) {
  return ::dlopen(file.c_str(), RTLD_NOW | RTLD_LOCAL);
}

/// Loads LibTorch by its place; liblact then finds it loaded, by its name.
void load_libtorch(const fs::path& folder) {
  const auto version = version_of(folder);
  if (!version.empty() && version != LACT_TORCH_VERSION)
    throw Unavailable("LibTorch in " + folder.string() + " is " + version +
                      ", this program was built for " LACT_TORCH_VERSION);
  for (const char* name : {LACT_TORCH_LIBRARIES})
    if (open(folder / "lib" / name) == nullptr)
      throw Unavailable("LibTorch in " + folder.string() + " does not load: " + ::dlerror());
}

/// What to do about a LibTorch that is nowhere.
std::string advice(const fs::path& lib) {
  const std::string configured = LACT_CONFIGURED_LIBTORCH;
  return "LibTorch " LACT_TORCH_VERSION " was not found; tried LACT_LIBTORCH, " +
         (lib / "libtorch").string() + (configured.empty() ? "" : ", " + configured) +
         " and VIRTUAL_ENV. 'pip install torch==" LACT_TORCH_VERSION
         "' in an environment of Python, and set LACT_LIBTORCH to its "
         "lib/python3.N/site-packages/torch";
}

void* load_module() {
  const auto module = find_module();
  const auto libtorch = find_libtorch(module);
  if (libtorch) load_libtorch(*libtorch);
  if (void* handle = open(module.file)) return handle;
  const std::string why = ::dlerror();
  const bool lacks_libtorch = !libtorch && (why.find("libtorch") != std::string::npos ||
                                            why.find("libc10") != std::string::npos);
  throw Unavailable(lacks_libtorch ? advice(module.file.parent_path())
                                   : "the installation is incomplete: " + why);
}

}  // namespace

int main(int argc, char** argv) {
  try {
    set_defaults();
    using Main = int (*)(int, char**);
    const auto tool = reinterpret_cast<Main>(::dlsym(load_module(), LACT_MAIN));
    if (tool == nullptr)
      throw Unavailable(std::string("the installation is mixed: ") + ::dlerror());
    return tool(argc, argv);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "%s: error: %s\n", LACT_TOOL, error.what());
    return kUnavailable;
  }
}
