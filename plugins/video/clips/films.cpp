#include "films.hpp"

#include "captions.hpp"

#include <plugins/common/media/video.hpp>
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
#include <map>
#include <optional>
#include <set>
#include <string_view>
#include <system_error>
#include <utility>

namespace lact::video {
namespace {

namespace fs = std::filesystem;

constexpr std::array<std::string_view, 56> kSuffixes{
    ".mp4",   ".m4v",  ".mp4v", ".mov",  ".qt",   ".3gp",  ".3g2",  ".f4v",  ".webm", ".mkv",
    ".mk3d",  ".avi",  ".divx", ".xvid", ".mpg",  ".mpeg", ".mpe",  ".mpv",  ".m1v",  ".m2v",
    ".m2p",   ".mp2v", ".vob",  ".evo",  ".dat",  ".ts",   ".mts",  ".m2ts", ".m2t",  ".tp",
    ".trp",   ".mod",  ".tod",  ".flv",  ".ogv",  ".ogg",  ".ogm",  ".wmv",  ".asf",  ".gif",
    ".y4m",   ".264",  ".265",  ".h264", ".h265", ".avc",  ".hevc", ".ivf",  ".obu",  ".mjpg",
    ".mjpeg", ".apng", ".dv",   ".dif",  ".mxf",  ".nut"};
// Of these, what other data has, too.
constexpr std::array<std::string_view, 5> kDoubtful{".avc", ".dat", ".dif", ".mod", ".nut"};
// Beside films: what is said of them.
constexpr std::array<std::string_view, 7> kBeside{"",       ".txt", ".csv", ".json",
                                                  ".jsonl", ".tsv", ".md"};

std::string lower_suffix(const fs::path& file) {
  auto suffix = file.extension().string();
  for (auto& c : suffix) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  return suffix;
}

template <size_t kCount>
bool is_one_of(const std::array<std::string_view, kCount>& all, const std::string& suffix) {
  return std::find(all.begin(), all.end(), suffix) != all.end();
}

/// Whether a file, whose name does not tell, is one.
bool is_film(const fs::path& file) {
  if (cli::stop_requested()) throw cli::Interrupted();
  std::error_code error;
  if (!fs::is_regular_file(file, error)) return false;
  try {
    const media::VideoReader film(file);
    return true;
  } catch (const Error& failed) {
    if (failed.code() != Exit::data && failed.code() != Exit::no_input) throw;
    return false;
  }
}

/// What is found below a folder.
struct Found {
  std::vector<fs::path> films;
  std::map<std::string, int64_t> others;  // by suffix

  void take(const fs::path& file) {
    const auto suffix = lower_suffix(file);
    if (is_one_of(kSuffixes, suffix) && (!is_one_of(kDoubtful, suffix) || is_film(file)))
      films.push_back(file);
    else if (!is_one_of(kBeside, suffix))
      ++others[suffix];
  }
  /// ".rm, .webp", at most a handful.
  std::string other_suffixes() const {
    std::string text;
    size_t named = 0;
    for (const auto& [suffix, count] : others) {
      if (named++ == 8) return text + ", ...";
      text += (text.empty() ? "" : ", ") + io::printable(suffix);
    }
    return text;
  }
};

void tell_others(const std::string& folder, const Found& found) {
  int64_t count = 0;
  for (const auto& [suffix, files] : found.others) count += files;
  if (count > 0)
    log::info(folder, ": ", count, count == 1 ? " other file is" : " other files are",
              " passed over, no films by name or content: ", found.other_suffixes());
}

bool is_hidden(const fs::path& path) {
  return path.filename().string().rfind('.', 0) == 0;
}

/// Links to folders are followed, each folder once: links may lead back.
void look_below(const fs::path& folder, bool given, const Skip& skip, std::set<fs::path>& seen,
                Found& found) {
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
    else
      found.take(entry);
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
      Found below;
      look_below(input, /*given=*/true, skip, folders, below);
      std::sort(below.films.begin(), below.films.end());
      tell_others(input, below);
      if (below.films.empty()) throw Error(Exit::no_input, input, ": no film in this folder");
      for (const auto& file : below.films) add(file, file.lexically_relative(input).string());
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
  const auto silent = std::count_if(films.begin(), films.end(),
                                    [](const FilmFile& film) { return film.caption.empty(); });
  if (silent > 0)
    log::warning(table.string(), ": ", silent, " of ", films.size(),
                 films.size() == 1 ? " film is" : " films are", " left without a caption");
  if (const auto unused = captions->unused(); !unused.empty())
    log::warning(table.string(), ": ", unused.size(), " of its rows name no film that is packed (",
                 io::printable(unused[0]), unused.size() > 1 ? ", ...)" : ")");
}

}  // namespace lact::video
