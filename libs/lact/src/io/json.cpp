#include <lact/error.hpp>
#include <lact/io/checkpoint.hpp>

#include "descriptor.hpp"

#include <nlohmann/json.hpp>

#include <unordered_set>

namespace lact::io {
namespace {

constexpr size_t kMaxDepth = 64;

/// Looks for what the parser would take in silence: duplicate keys and deep nesting.
class Checker : public nlohmann::json_sax<nlohmann::json> {
 public:
  std::string problem;

  bool null() override { return true; }
  bool boolean(bool) override { return true; }
  bool number_integer(number_integer_t) override { return true; }
  bool number_unsigned(number_unsigned_t) override { return true; }
  bool number_float(number_float_t, const string_t&) override { return true; }
  bool string(string_t&) override { return true; }
  bool binary(binary_t&) override { return true; }
  bool start_object(size_t) override { return enter(); }
  bool end_object() override { return leave(); }
  bool start_array(size_t) override { return enter(); }
  bool end_array() override { return leave(); }
  bool key(string_t& text) override {
    if (keys_.back().insert(text).second) return true;
    problem = concat("key ", printable(text), " comes twice");
    return false;
  }
  bool parse_error(size_t, const std::string&, const nlohmann::detail::exception& error) override {
    problem = json_problem(error.what());
    return false;
  }

 private:
  bool enter() {
    keys_.emplace_back();
    if (keys_.size() <= kMaxDepth) return true;
    problem = concat("nested deeper than ", kMaxDepth, " levels");
    return false;
  }
  bool leave() {
    keys_.pop_back();
    return true;
  }

  std::vector<std::unordered_set<std::string>> keys_;
};

}  // namespace

std::string json_problem(std::string_view what) {
  const auto end = what.find("] ");  // of "[json.exception.parse_error.101] "
  if (end != what.npos) what.remove_prefix(end + 2);
  return concat("not JSON: ", printable(what));
}

nlohmann::json parse_json(std::string_view text, const std::string& what) {
  // The parser takes a NUL for the end of the text, and hides what follows it.
  if (text.find('\0') != text.npos)
    throw Error(Exit::data, what, ": not JSON: a NUL character at byte ", text.find('\0'));
  Checker checker;
  if (!nlohmann::json::sax_parse(text.begin(), text.end(), &checker))
    throw Error(Exit::data, what, ": ", checker.problem);
  return nlohmann::json::parse(text.begin(), text.end());
}

}  // namespace lact::io
