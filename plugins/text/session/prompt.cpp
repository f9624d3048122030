#include "prompt.hpp"

#include <lact/cli/run.hpp>

#include <algorithm>

namespace lact::text {

std::string unescape_prompt(const std::string& text) {
  constexpr std::string_view kFrom = "ntr\\'\"", kTo = "\n\t\r\\'\"";
  std::string out;
  for (size_t i = 0; i < text.size(); ++i) {
    const size_t known =
        text[i] == '\\' && i + 1 < text.size() ? kFrom.find(text[i + 1]) : std::string_view::npos;
    out += known == std::string_view::npos ? text[i] : kTo[known];
    i += known != std::string_view::npos;
  }
  return out;
}

bool read_prompt(const LoadedModel& loaded, Session& session, TextReader& reader,
                 const ReadOptions& options, const std::function<void()>& after) {
  std::vector<int32_t> ids;
  if (const auto bos = loaded.bos(); bos && options.bos && session.tokens() == 0)
    ids.push_back(*bos);
  for (;;) {
    const int64_t room =
        options.group - session.tokens() % options.group - static_cast<int64_t>(ids.size());
    const auto more = reader.next(static_cast<size_t>(std::max<int64_t>(room, 0)));
    if (cli::stop_requested()) return false;
    ids.insert(ids.end(), more.begin(), more.end());
    if (ids.empty()) return true;
    session.read(ids);
    ids.clear();
    if (after) after();
  }
}

}  // namespace lact::text
