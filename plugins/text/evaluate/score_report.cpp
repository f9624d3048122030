#include "score_report.hpp"

#include <lact/error.hpp>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <numbers>

namespace lact::text {
namespace {

using Json = nlohmann::ordered_json;

/// "          1-1         25     3.1234\n"
std::string short_row(const std::string& name, const Totals& totals) {
  char row[96];
  std::snprintf(row, sizeof row, "%14s %10lld %10.4f\n", name.c_str(),
                static_cast<long long>(totals.tokens), totals.loss());
  return row;
}

Json positions_json(const Positions& positions) {
  auto rows = Json::array();
  positions.each([&](int64_t from, int64_t to, const Totals& totals) {
    rows.push_back(
        {{"from", from}, {"to", to}, {"tokens", totals.tokens}, {"loss", totals.loss()}});
  });
  return rows;
}

Json documents_json(const std::vector<Totals>& documents) {
  auto rows = Json::array();
  for (size_t d = 0; d < documents.size(); ++d) {
    Json row{{"document", d}, {"tokens", documents[d].tokens}, {"loss", nullptr}};
    if (documents[d].tokens > 0) row["loss"] = documents[d].loss();
    rows.push_back(row);
  }
  return rows;
}

/// What files and their sum have in common.
void put_summary(Json& all, const FileScore& score) {
  all["tokens"] = score.totals.tokens;
  if (score.totals.tokens == 0) return;
  all["loss"] = score.totals.loss();
  all["perplexity"] = std::exp(score.totals.loss());
  all["accuracy"] = score.totals.accuracy();
  if (!score.packed) all["bits_per_byte"] = score.bits_per_byte();
  all["by_position"] = positions_json(score.positions);
}

/// A line of the table; the name stands last, so that none is too long.
std::string table_row(const FileScore& score, const std::string& name) {
  char row[96];
  if (score.totals.tokens == 0)
    std::snprintf(row, sizeof row, "%10s %10s %12s %10s %10s  ", "-", "-", "-", "-", "-");
  else
    std::snprintf(row, sizeof row, "%10lld %10.4f %12.6g %10s %8.2f %%  ",
                  static_cast<long long>(score.totals.tokens), score.totals.loss(),
                  std::exp(score.totals.loss()),
                  score.packed ? "-" : number(score.bits_per_byte(), "%.4f").c_str(),
                  100 * score.totals.accuracy());
  return row + name + "\n";
}

}  // namespace

void FileScore::add(const FileScore& more) {
  totals.add(more.totals);
  positions.add(more.positions);
  documents.insert(documents.end(), more.documents.begin(), more.documents.end());
  packed = packed || more.packed;
  bytes += more.bytes;
}

std::vector<double> FileScore::numbers() const {
  std::vector<double> all{packed ? 1.0 : 0.0, static_cast<double>(bytes),
                          static_cast<double>(documents.size())};
  const auto put = [&](const Totals& some) {
    all.insert(all.end(),
               {some.logprob, static_cast<double>(some.tokens), static_cast<double>(some.greedy)});
  };
  put(totals);
  for (const auto& one : documents) put(one);
  for (const auto& one : positions.totals()) put(one);
  return all;
}

FileScore FileScore::of(const std::vector<double>& numbers, int64_t width) {
  FileScore score(width);
  score.packed = numbers.at(0) != 0;
  score.bytes = static_cast<uint64_t>(numbers.at(1));
  std::vector<Totals> all;
  for (size_t i = 3; i + 2 < numbers.size(); i += 3)
    all.push_back(
        {numbers[i], static_cast<int64_t>(numbers[i + 1]), static_cast<int64_t>(numbers[i + 2])});
  const auto documents = all.begin() + 1, positions = documents + static_cast<int64_t>(numbers[2]);
  score.totals = all.at(0);
  score.documents = {documents, positions};
  score.positions.set_totals({positions, all.end()});
  return score;
}

double FileScore::bits_per_byte() const {
  return -totals.logprob / std::numbers::ln2 / static_cast<double>(std::max<uint64_t>(bytes, 1));
}

std::string number(double value, const char* form) {
  char text[40];
  std::snprintf(text, sizeof text, form, value);
  return text;
}

std::string json_text(const Json& value, int indent) {
  return value.dump(indent, ' ', false, Json::error_handler_t::replace) + "\n";
}

std::string to_text(const FileScore& score) {
  std::string text = concat("tokens         ", score.totals.tokens, "\n", "loss           ",
                            number(score.totals.loss()), " nats a token\n", "perplexity     ",
                            number(std::exp(score.totals.loss())), "\n");
  if (!score.packed) text += concat("bits a byte    ", number(score.bits_per_byte()), "\n");
  text += concat("accuracy       ", number(100 * score.totals.accuracy(), "%.2f"), " %\n");
  text += "\n      position     tokens       loss\n";
  score.positions.each([&](int64_t from, int64_t to, const Totals& totals) {
    text += short_row(concat(from, "-", to), totals);
  });
  if (!score.documents.empty()) text += "\n      document     tokens       loss\n";
  for (size_t d = 0; d < score.documents.size(); ++d)
    text += short_row(std::to_string(d), score.documents[d]);
  return text;
}

Json to_json(const FileScore& score) {
  Json all{{"file", score.file}};
  put_summary(all, score);
  if (!score.documents.empty()) all["documents"] = documents_json(score.documents);
  return all;
}

std::string positions_csv(const Positions& positions) {
  std::string text = "from,to,tokens,loss\n";
  positions.each([&](int64_t from, int64_t to, const Totals& totals) {
    text += concat(from, ",", to, ",", totals.tokens, ",", number(totals.loss(), "%.7g"), "\n");
  });
  return text;
}

// --- many files ----------------------------------------------------------------------------------

void ScoreTable::add(const FileScore& score) {
  total_.add(score);
  files_.push_back(to_json(score));
  last_row_ = table_row(score, score.file);
}

void ScoreTable::add_failure(const std::string& file, const std::string& why) {
  ++failed_;
  files_.push_back({{"file", file}, {"error", why}});
  last_row_ = table_row(FileScore(0), file);
}

std::string ScoreTable::header() {
  char row[96];
  std::snprintf(row, sizeof row, "%10s %10s %12s %10s %10s  file\n", "tokens", "loss", "perplexity",
                "bits/byte", "accuracy");
  return row;
}

std::string ScoreTable::total_row() const {
  return table_row(total_, "total");
}

Json ScoreTable::json() const {
  Json total;
  put_summary(total, total_);
  return {{"files", files_}, {"total", total}};
}

}  // namespace lact::text
