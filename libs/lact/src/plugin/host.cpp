#include <lact/cli/nearest.hpp>
#include <lact/plugin/host.hpp>

#include <dlfcn.h>
#include <sys/auxv.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <map>
#include <set>
#include <sstream>

namespace lact::plugin {
namespace {

namespace fs = std::filesystem;

fs::path program_file() {
  std::error_code ignored;
  return fs::read_symlink("/proc/self/exe", ignored);
}

std::vector<fs::path> folders_in(const fs::path& folder) {
  std::vector<fs::path> found;
  std::error_code error;
  for (const auto& item : fs::directory_iterator(folder, error))
    if (item.is_directory(error)) found.push_back(item.path());
  std::sort(found.begin(), found.end());
  return found;
}

// --- where ---------------------------------------------------------------------------------------

/// LACT_PLUGIN_PATH, unless the program runs with more rights than who started it.
std::vector<fs::path> environment_folders() {
  const char* path = std::getenv("LACT_PLUGIN_PATH");
  std::vector<fs::path> folders;
  if (path == nullptr || ::getauxval(AT_SECURE) != 0) return folders;
  std::istringstream stream(path);
  for (std::string folder; std::getline(stream, folder, ':');)
    if (!folder.empty()) folders.push_back(fs::absolute(folder));
  return folders;
}

/// Where an installation keeps plugins: lib/lact/plugins, beside this library.
fs::path installed_folder() {
  Dl_info library{};
  if (::dladdr(reinterpret_cast<const void*>(&list), &library) == 0) return {};
  return fs::path(library.dli_fname).parent_path() / "lact/plugins";
}

/// build/plugins/* for build/tools/lact-x.
std::vector<fs::path> build_folders(const fs::path& bin) {
  const auto build = bin.parent_path();
  std::error_code ignored;
  if (bin.filename() != "tools" || !fs::exists(build / "meson-info", ignored)) return {};
  return folders_in(build / "plugins");
}

/// In the order of search, each once, those that exist (what was asked for by hand: in any case).
std::vector<fs::path> search_path(const fs::path& plugin_dir) {
  std::vector<fs::path> all;
  if (!plugin_dir.empty()) all.push_back(fs::absolute(plugin_dir));
  for (const auto& folder : environment_folders()) all.push_back(folder);
  all.push_back(installed_folder());
  for (const auto& folder : build_folders(program_file().parent_path())) all.push_back(folder);
  std::vector<fs::path> path;
  std::set<fs::path> seen;
  for (const auto& folder : all) {
    std::error_code ignored;
    const auto real = fs::weakly_canonical(folder, ignored);
    if (fs::is_directory(real, ignored) && seen.insert(real).second) path.push_back(real);
  }
  return path;
}

// --- who may write there -------------------------------------------------------------------------

/// Owners that could replace this program itself may also provide its plugins.
bool is_trusted_owner(uid_t owner) {
  struct stat program {};
  const bool known = ::stat("/proc/self/exe", &program) == 0;
  return owner == 0 || owner == ::geteuid() || (known && owner == program.st_uid);
}

/// Why somebody else could put code there; "" if nobody can.
std::string unsafe(const fs::path& path) {
  struct stat status {};
  if (::stat(path.c_str(), &status) != 0) return std::strerror(errno);
  if (!is_trusted_owner(status.st_uid))
    return concat("owned by user ", status.st_uid, ", who is neither root nor you");
  if ((status.st_mode & S_IWOTH) != 0) return "writable by everybody; try chmod o-w";
  if ((status.st_mode & S_IWGRP) != 0 && status.st_gid != 0 && status.st_gid != ::getegid())
    return concat("writable by group ", status.st_gid, "; try chmod g-w");
  return "";
}

// --- what is in it -------------------------------------------------------------------------------

std::string file_name(const std::string& name) {
  return "lact-" + name + ".so";
}

/// "text" of ".../lact-text.so"; "" for other files.
std::string plugin_name(const fs::path& file) {
  const auto name = file.filename().string();
  const bool fits = name.size() > 8 && name.rfind("lact-", 0) == 0 &&
                    name.compare(name.size() - 3, 3, ".so") == 0;
  return fits ? name.substr(5, name.size() - 8) : "";
}

std::string text_or(const char* text, const char* other) {
  return text != nullptr ? text : other;
}

/// Why a description does not fit this program; "" if it does. Reads no field beyond `abi` unless
/// that one is ours.
std::string misfit(const lact_plugin* plugin, const std::string& name) {
  if (plugin == nullptr) return "it describes nothing (" LACT_PLUGIN_SYMBOL " gave NULL)";
  if (plugin->abi != LACT_PLUGIN_ABI)
    return concat("built for plugin interface ", plugin->abi, ", this program has ",
                  LACT_PLUGIN_ABI);
  const auto build = text_or(plugin->build, "nothing");
  if (build != LACT_BUILD_STAMP)
    return concat("built for '", build, "', this program has '", LACT_BUILD_STAMP, "'");
  const auto own_name = text_or(plugin->name, "");
  if (own_name != name)
    return concat("it calls itself '", own_name, "', its file name says '", name, "'");
  if (plugin->create == nullptr || plugin->destroy == nullptr)
    return "its description lacks create or destroy";
  return "";
}

/// Opens one file; on refusal says why and returns null.
const lact_plugin* open(const fs::path& file, std::string& refusal) {
  if (refusal = unsafe(file); !refusal.empty()) return nullptr;
  // An absolute path: the linker's own search never runs. NODELETE: LibTorch keeps pointers into
  // it.
  void* handle = ::dlopen(file.c_str(), RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE);
  if (handle == nullptr) {
    refusal = concat("it does not load: ", ::dlerror());
    return nullptr;
  }
  using Describe = const lact_plugin* (*)();
  const auto describe = reinterpret_cast<Describe>(::dlsym(handle, LACT_PLUGIN_SYMBOL));
  if (describe == nullptr) {
    refusal = "no lact plugin: it has no symbol " LACT_PLUGIN_SYMBOL;
    return nullptr;
  }
  const auto* plugin = describe();
  refusal = misfit(plugin, plugin_name(file));
  return refusal.empty() ? plugin : nullptr;
}

std::vector<fs::path> candidates(const fs::path& folder) {
  std::vector<fs::path> files;
  std::error_code error;
  for (const auto& item : fs::directory_iterator(folder, error))
    if (!plugin_name(item.path()).empty()) files.push_back(item.path());
  std::sort(files.begin(), files.end());
  return files;
}

void check_name(const std::string& name) {
  const auto good = "abcdefghijklmnopqrstuvwxyz0123456789_-";
  if (name.empty() || name.find_first_not_of(good) != std::string::npos)
    throw Error(Exit::usage, "'", name, "' is no modality; names are like text or views");
}

void check_plugin_dir(const fs::path& folder) {
  std::error_code ignored;
  if (!folder.empty() && !fs::is_directory(folder, ignored))
    throw Error(Exit::no_input, "--plugin-dir ", folder.string(), ": no such folder");
}

[[noreturn]] void not_found(const std::string& name, const std::vector<fs::path>& path,
                            std::vector<std::string> known) {
  std::string where;
  for (const auto& folder : path) {
    where += (where.empty() ? "" : ", ") + folder.string();
    for (const auto& file : candidates(folder)) known.push_back(plugin_name(file));
  }
  throw Error(Exit::unavailable, "no plugin for '", name, "': ", file_name(name),
              where.empty() ? " has no folder to be in; see LACT_PLUGIN_PATH" : " is not in ",
              where, cli::did_you_mean(name, known));
}

/// The modality; on refusal says why and returns null. Same stamp, same C++ ABI: exceptions may
/// cross.
std::unique_ptr<Modality> create(const lact_plugin& plugin, std::string& refusal) {
  try {
    // The destructor is virtual: deleting it here is destroy().
    std::unique_ptr<Modality> made(static_cast<Modality*>(plugin.create()));
    if (made == nullptr) refusal = "it created no modality";
    return made;
  } catch (const std::exception& error) {
    refusal = concat("it could not create its modality: ", error.what());
  } catch (...) {
    refusal = "it could not create its modality: an exception of unknown type";
  }
  return nullptr;
}

}  // namespace

std::vector<Found> list(const std::filesystem::path& plugin_dir) {
  check_plugin_dir(plugin_dir);
  std::vector<Found> all;
  std::map<std::string, fs::path> chosen;
  for (const auto& folder : search_path(plugin_dir)) {
    if (const auto why = unsafe(folder); !why.empty()) {
      all.push_back({folder, "", "", "folder refused: " + why});
      continue;
    }
    for (const auto& file : candidates(folder)) {
      Found found{file, plugin_name(file), "", ""};
      const auto* plugin = open(file, found.refusal);
      if (plugin != nullptr) found.summary = text_or(plugin->summary, "");
      const auto [first, is_first] = chosen.emplace(found.name, file);
      if (plugin != nullptr && !is_first) found.refusal = "hidden by " + first->second.string();
      if (found.refusal.empty()) create(*plugin, found.refusal);
      all.push_back(std::move(found));
    }
  }
  return all;
}

std::unique_ptr<Modality> load(const std::string& name, const std::filesystem::path& plugin_dir,
                               const std::vector<std::string>& others) {
  check_name(name);
  check_plugin_dir(plugin_dir);
  const auto path = search_path(plugin_dir);
  for (const auto& folder : path) {
    const auto file = folder / file_name(name);
    std::error_code ignored;
    if (!fs::exists(file, ignored)) continue;
    std::string refusal;
    if (const auto why = unsafe(folder); !why.empty())
      throw Error(Exit::unavailable, folder.string(), ": folder refused: ", why);
    const auto* plugin = open(file, refusal);
    auto modality = plugin == nullptr ? nullptr : create(*plugin, refusal);
    if (modality == nullptr) throw Error(Exit::unavailable, file.string(), ": refused: ", refusal);
    return modality;
  }
  not_found(name, path, others);
}

}  // namespace lact::plugin
