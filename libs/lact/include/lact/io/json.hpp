#pragma once
// JSON that strangers wrote: parsed strictly, and read key by key with errors that name the place.

#include <nlohmann/json_fwd.hpp>

#include <cstdint>
#include <initializer_list>
#include <set>
#include <string>
#include <string_view>
#include <vector>

namespace lact::io {

/// Errors   65 naming `what`: not JSON, a key that comes twice, nested too deeply
nlohmann::json parse_json(std::string_view text, const std::string& what);
/// What the library says is wrong, in one line.
std::string json_problem(std::string_view what);

/// An object's values by their keys. Errors: 65 naming `what` and the key, what was expected and
/// what was found. The object must live as long.
class JsonObject {
 public:
  JsonObject(const nlohmann::json& object, std::string what);

  bool has(const std::string& key) const;
  /// Null where the key is missing, or null in the file.
  const nlohmann::json* find(const std::string& key);

  // A key that may be missing or null: `into` keeps its value then.
  void read(const std::string& key, bool& into);
  void read(const std::string& key, double& into);
  void read(const std::string& key, int64_t& into);  ///< also 16.0, as some writers spell 16
  /// `words`: those it can be; empty: any.
  void read(const std::string& key, std::string& into, const std::vector<std::string>& words = {});

  // A key that must be there.
  int64_t whole(const std::string& key, int64_t low, int64_t high);
  uint64_t unsigned_whole(const std::string& key);
  double number(const std::string& key, double low, double high);
  std::string word(const std::string& key, const std::vector<std::string>& words = {});

  /// Keys that say nothing that we would use.
  void ignore(std::initializer_list<const char*> keys);
  [[noreturn]] void refuse(const std::string& key, const std::string& expected) const;
  /// Errors   65 for a key that nobody asked for: it may change the mathematics, and we would not
  ///          know how. Names that begin with an underscore are remarks of whoever wrote the file
  void all_known() const;

 private:
  const nlohmann::json& object_;
  std::string what_;
  std::set<std::string> known_;
};

}  // namespace lact::io
