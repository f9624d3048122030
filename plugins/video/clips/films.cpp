#include "films.hpp"

#include "captions.hpp"

#include <plugins/video/packed/random_purposes.hpp>

#include <lact/cli/run.hpp>
#include <lact/error.hpp>
#include <lact/io/files.hpp>
#include <lact/log.hpp>
#include <lact/random.hpp>

#include <fnmatch.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <cmath>
#include <optional>
#include <set>
#include <string_view>
#include <system_error>
#include <utility>

namespace lact::video {
namespace {

namespace fs = std::filesystem;

constexpr std::array<std::string_view, 30> kSuffixes{
    ".mp4", ".m4v", ".mov", ".3gp", ".webm", ".mkv",  ".avi", ".mpg",  ".mpeg",  ".m1v",
    ".m2v", ".vob", ".ts",  ".mts", ".m2ts", ".flv",  ".ogv", ".ogg",  ".wmv",   ".asf",
    ".gif", ".y4m", ".264", ".265", ".h264", ".hevc", ".ivf", ".mjpg", ".mjpeg", ".divx"};

bool is_film(const fs::path& file) {
  auto suffix = file.extension().string();
  for (auto& c : suffix) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  return std::find(kSuffixes.begin(), kSuffixes.end(), suffix) != kSuffixes.end();
}

bool is_hidden(const fs::path& path) {
  return path.filename().string().rfind('.', 0) == 0;
}

/// Links to folders are followed, each folder once: links may lead back.
void look_below(const fs::path& folder, bool given, const Skip& skip, std::set<fs::path>& seen,
                std::vector<fs::path>& found) {
  if (cli::stop_requested()) throw cli::Interrupted();
  std::error_code error;
  const auto real = fs::canonical(folder, error);
  if (!error && !seen.insert(real).second) return;
  std::vector<fs::path> entries;
  for (fs::directory_iterator item(folder, error), end; !error && item != end;
       item.increment(error))
    if (!is_hidden(item->path())) entries.push_back(item->path());
  if (error) {
    const Error unread(Exit::no_input, folder.string(), ": cannot read: ", error.message());
    if (given) throw unread;
    skip(nullptr, unread);
  }
  std::sort(entries.begin(), entries.end());
  for (const auto& entry : entries) {
    std::error_code ignored;
    if (fs::is_directory(entry, ignored))
      look_below(entry, /*given=*/false, skip, seen, found);
    else if (is_film(entry))
      found.push_back(entry);
  }
}

bool matches(const FilmFile& film, const std::string& glob) {
  const auto path = film.path.string(), name = film.path.filename().string();
  return ::fnmatch(glob.c_str(), path.c_str(), 0) == 0 ||
         ::fnmatch(glob.c_str(), name.c_str(), 0) == 0;
}

}  // namespace

std::vector<FilmFile> find_films(const std::vector<std::string>& inputs, const Skip& skip) {
  std::vector<FilmFile> films;
  std::set<fs::path> seen;
  const auto add = [&](const fs::path& file, const std::string& name) {
    std::error_code error;
    const auto real = file == "-" ? file : fs::weakly_canonical(file, error);
    if (seen.insert(error ? file : real).second) films.push_back({file, name, "", "", false});
  };
  for (const auto& input : inputs) {
    std::error_code error;
    const auto status = fs::status(input, error);
    if (input == "-") {
      add(input, "stdin");
    } else if (!fs::exists(status)) {
      throw Error(Exit::no_input, input, ": not found");
    } else if (!fs::is_directory(status)) {
      add(input, fs::path(input).filename().string());
    } else {
      std::set<fs::path> folders;
      std::vector<fs::path> below;
      look_below(input, /*given=*/true, skip, folders, below);
      std::sort(below.begin(), below.end());
      if (below.empty()) throw Error(Exit::no_input, input, ": no film in this folder");
      for (const auto& file : below) add(file, file.lexically_relative(input).string());
    }
  }
  return films;
}

void choose_validation(std::vector<FilmFile>& films, double share,
                       const std::vector<std::string>& globs, uint64_t seed) {
  for (const auto& glob : globs) {
    bool any = false;
    for (auto& film : films)
      if (matches(film, glob)) film.validation = any = true;
    if (!any) throw Error(Exit::usage, "--validation-files: no film matches ", glob);
  }
  std::vector<FilmFile*> rest;
  for (auto& film : films)
    if (!film.validation) rest.push_back(&film);
  const auto all = static_cast<int64_t>(rest.size());
  auto count = static_cast<int64_t>(std::llround(share * static_cast<double>(all)));
  if (share > 0 && all > 1) count = std::max<int64_t>(count, 1);
  for (const auto i : shuffled(all, count, random_stream(seed, kFilmSplit, 0)))
    rest[static_cast<size_t>(i)]->validation = true;
}

void describe(std::vector<FilmFile>& films, const fs::path& table, const std::string& label_from,
              const Skip& skip) {
  std::optional<CaptionTable> captions;
  if (!table.empty()) captions = CaptionTable::read(table);
  std::vector<FilmFile> usable;
  for (auto& film : films) {
    const auto* said = captions ? captions->find(film.path) : nullptr;
    if (said != nullptr) {
      film.caption = said->caption;
      film.label = said->label;
    } else if (film.path != "-") {
      try {
        film.caption = sidecar_text(film.path).value_or("");
      } catch (const Error& error) {
        skip(&film, error);
        continue;
      }
    }
    if (label_from == "caption") film.label = film.caption;
    if (label_from == "folder" && film.path != "-")
      film.label = fs::absolute(film.path).parent_path().filename().string();
    usable.push_back(std::move(film));
  }
  films = std::move(usable);
  if (!captions) return;
  if (const auto unused = captions->unused(); !unused.empty())
    log::warning(table.string(), ": ", unused.size(), " of its rows name no film that is packed (",
                 io::printable(unused[0]), unused.size() > 1 ? ", ...)" : ")");
}

}  // namespace lact::video
