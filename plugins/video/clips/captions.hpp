#pragma once
// What is said of films: in a table, in text files beside them, by their folders.

#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace lact::video {

/// Rows of fields separated by commas, quoted where they hold commas, quotes (doubled) or line
/// ends; lines end in LF or CR LF (RFC 4180). Empty lines are passed over. Errors: 65 naming the
/// line
std::vector<std::vector<std::string>> parse_csv(std::string_view text, const std::string& name);

/// Runs of blanks and line ends become one blank, those at the ends go.
std::string one_line(std::string_view text);

struct Said {
  std::string caption, label;
};

/// A table of file, caption and, if it has a third column, label. A first row that names such
/// columns (file, file_name, video, ...; caption, text, prompt, ...; label, ...) is a heading, and
/// says where they are; below it rows may leave out fields behind file and caption. Or lines of
/// JSON objects with these keys.
class CaptionTable {
 public:
  /// Errors   65 naming the row of a wrong length, one whose caption has a comma without quotes, or
  ///          a file that comes twice; 66
  static CaptionTable read(const std::filesystem::path& file);
  /// The same of the text of such a file.
  static CaptionTable parse(const std::string& text, const std::filesystem::path& file);
  /// Of a film: by its path from the table's folder, else by its name alone if no other row has
  /// that.
  const Said* find(const std::filesystem::path& film);
  /// Rows that no film was found for.
  std::vector<std::string> unused() const;

 private:
  struct Row {
    std::string file;
    Said said;
    bool used = false;
  };
  std::vector<Row> rows_;
  std::map<std::string, size_t> by_path_;
  std::map<std::string, std::vector<size_t>> by_name_;
};

/// The text of FILM.txt or, without the film's suffix, FILE.txt. Errors: 65 if it has more than
/// 64 KiB
std::optional<std::string> sidecar_text(const std::filesystem::path& film);

}  // namespace lact::video
