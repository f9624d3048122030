#pragma once
// Which films there are, what is said of them, and which are kept for validation.

#include <lact/error.hpp>

#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>
#include <vector>

namespace lact::video {

struct FilmFile {
  std::filesystem::path path;  ///< "-": stdin
  std::string name;            ///< from the folder that was given; else the file's own
  std::string caption, label;
  bool validation = false;
};

/// Told why a film, or a folder (no film), is passed over. What it throws ends all.
using Skip = std::function<void(const FilmFile*, const Error&)>;

/// Files as given, films of folders and all folders in them by path (hidden ones are left out, and
/// files whose suffix no film has, or other data, too, and that hold none), "-". What comes twice
/// is taken once. A folder in another that cannot be read is passed over.
/// Errors   66 naming what does not exist, or a folder that cannot be read or is without a film
std::vector<FilmFile> find_films(const std::vector<std::string>& inputs, const Skip& skip);

/// Keeps for validation films whose path or name matches a glob, and of the others a share, at
/// least one if there are two: the same ones for the same seed.
/// Errors   64 if no film matches
void choose_validation(std::vector<FilmFile>& films, double share,
                       const std::vector<std::string>& globs, uint64_t seed);

/// Captions and labels: of a table (may be empty), else of text beside the film; the label is by
/// `label_from` "none" (the table's), "folder" (the name of the film's) or "caption".
/// Films whose text cannot be used go. Warns of rows of the table that no film was found for.
/// Errors   as CaptionTable
void describe(std::vector<FilmFile>& films, const std::filesystem::path& table,
              const std::string& label_from, const Skip& skip);

}  // namespace lact::video
