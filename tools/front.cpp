// Every binary of lact: finds LibTorch and the code of the tools, which may both have been moved,
// and hands over. It links neither, so that it can say what is missing, and print help at once.

#include <dlfcn.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <optional>
#include <set>
#include <sstream>
#include <stdexcept>
#include <string>
#include <string_view>
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

// --- pages ---------------------------------------------------------------------------------------

/// The words that ask for a page, as the file of pages has them; "" if they may ask for more.
std::string words_of(int argc, char** argv) {
  std::string words;
  for (int i = 1; i < argc; ++i) {
    std::string word = argv[i];
    if (word == "-h") word = "--help";
    if (word.rfind("--completion=", 0) == 0)
      word[12] = ' ';
    else if (word.find_first_of(" \t\n") != std::string::npos)
      return "";
    words += (words.empty() ? "" : " ") + word;
  }
  return words;
}

/// The plugins that the tool would find without being told where.
std::vector<fs::path> plugin_files(const Module& module) {
  const auto folder = module.file.parent_path();
  std::vector<fs::path> folders, files;
  std::error_code error;
  if (module.built)
    for (const auto& room : fs::directory_iterator(folder.parent_path() / "plugins", error))
      folders.push_back(room.path());
  else
    folders.push_back(folder / "plugins");
  for (const auto& one : folders)
    for (const auto& item : fs::directory_iterator(one, error))
      if (item.path().extension() == ".so") files.push_back(item.path());
  return files;
}

/// In a build tree each of them may be newer than the pages; what is installed is replaced
/// together.
bool is_stale(const fs::path& pages, const Module& module, std::vector<fs::path> files) {
  if (!module.built) return false;
  files.push_back(module.file);
  files.push_back(module.file.parent_path().parent_path() / "libs/lact/liblact.so.0");
  std::error_code error;
  const auto written = fs::last_write_time(pages, error);
  return std::any_of(files.begin(), files.end(),
                     [&](const auto& file) { return fs::last_write_time(file, error) > written; });
}

/// As the first line of a file of pages names them.
std::set<std::string> names_of(const std::vector<fs::path>& plugins) {
  std::set<std::string> names;
  for (const auto& file : plugins) {
    const auto stem = file.stem().string();  // lact-text
    if (stem.rfind("lact-", 0) == 0) names.insert(stem.substr(5));
  }
  return names;
}

bool write_out(std::string_view text) {
  while (!text.empty()) {
    const ssize_t n = ::write(STDOUT_FILENO, text.data(), text.size());
    if (n < 0) return false;
    text.remove_prefix(static_cast<size_t>(n));
  }
  return true;
}

/// Prints the page that the words ask for, if it was written when this program was built and the
/// same plugins would be found now. Help, versions and completion then take no time.
bool print_page(const Module& module, int argc, char** argv) {
  const auto words = words_of(argc, argv);
  if (words.empty() || environment("LACT_PLUGIN_PATH")) return false;
  const auto file = module.file.parent_path() / LACT_TOOL ".pages";
  std::ifstream stream(file);
  std::string line;
  if (!std::getline(stream, line)) return false;
  std::istringstream names(line.substr(line.find(' ') + 1));
  const auto plugins = plugin_files(module);
  if (names_of(plugins) != std::set<std::string>(std::istream_iterator<std::string>(names), {}) ||
      is_stale(file, module, plugins))
    return false;
  while (std::getline(stream, line)) {
    const auto tab = line.find('\t');
    const auto bytes = static_cast<std::streamsize>(std::stoll(line.substr(tab + 1)));
    if (line.compare(0, tab, words) != 0) {
      stream.ignore(bytes);
      continue;
    }
    std::string text(static_cast<size_t>(bytes), '\0');
    if (!stream.read(text.data(), bytes)) return false;
    return write_out(text);  // a tool that cannot either knows the words for it
  }
  return false;
}

// --- LibTorch ------------------------------------------------------------------------------------

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

void* load_module(const Module& module) {
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
    const auto module = find_module();
    if (print_page(module, argc, argv)) return 0;
    set_defaults();
    using Main = int (*)(int, char**);
    const auto tool = reinterpret_cast<Main>(::dlsym(load_module(module), LACT_MAIN));
    if (tool == nullptr)
      throw Unavailable(std::string("the installation is mixed: ") + ::dlerror());
    return tool(argc, argv);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "%s: error: %s\n", LACT_TOOL, error.what());
    return kUnavailable;
  }
}
