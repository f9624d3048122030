#include "unigram.hpp"

#include <algorithm>
#include <cfloat>

namespace lact::spm {

// --- Trie ----------------------------------------------------------------------------------------

Trie::Trie(std::vector<Key> keys) : keys_(std::move(keys)) {
  std::sort(keys_.begin(), keys_.end(), [](const Key& a, const Key& b) { return a.text < b.text; });
  grow(1);
  nodes_[kRoot] = {1, kRoot, -1};
  // Depth first without recursion: keys may be long.
  struct Range {
    uint32_t node;
    size_t begin, end, depth;
  };
  std::vector<Range> open{{kRoot, 0, keys_.size(), 0}};
  while (!open.empty()) {
    auto [node, begin, end, depth] = open.back();
    open.pop_back();
    if (begin < end && keys_[begin].text.size() == depth) nodes_[node].value = keys_[begin++].value;
    std::vector<unsigned char> bytes;
    std::vector<size_t> starts;
    for (size_t i = begin; i < end; ++i) {
      const auto byte = static_cast<unsigned char>(keys_[i].text[depth]);
      if (!bytes.empty() && bytes.back() == byte) continue;
      bytes.push_back(byte);
      starts.push_back(i);
    }
    if (bytes.empty()) continue;
    starts.push_back(end);
    const uint32_t base = find_base(bytes);
    nodes_[node].base = base;
    for (size_t i = 0; i < bytes.size(); ++i) {
      nodes_[base + bytes[i]].parent = node;
      open.push_back({base + bytes[i], starts[i], starts[i + 1], depth + 1});
    }
  }
  keys_ = {};
}

void Trie::grow(size_t size) {
  // Every step from any base stays inside.
  if (nodes_.size() < size + 512) nodes_.resize(std::max(size + 512, nodes_.size() * 3 / 2));
}

uint32_t Trie::find_base(const std::vector<unsigned char>& bytes) {
  size_t taken = 0;
  for (size_t first = search_from_;; ++first) {
    grow(first);
    if (nodes_[first].parent != kFree) {
      ++taken;
      continue;
    }
    if (first < bytes[0] + size_t{1}) continue;
    const size_t base = first - bytes[0];
    if (std::all_of(bytes.begin(), bytes.end(),
                    [&](unsigned char byte) { return nodes_[base + byte].parent == kFree; })) {
      // Where nearly all is taken, searching again is time lost.
      if (taken * 20 > (first - search_from_) * 19) search_from_ = first;
      return static_cast<uint32_t>(base);
    }
  }
}

// --- Unigram -------------------------------------------------------------------------------------

namespace {

/// How much less likely than the least likely piece SentencePiece holds an unknown character.
constexpr float kUnknownPenalty = 10.0f;

}  // namespace

Unigram::Unigram(const ModelFile& model) {
  float least = FLT_MAX, most = FLT_MIN;
  for (const auto& piece : model.pieces)
    if (piece.type == PieceType::normal) {
      least = std::min(least, piece.score);
      most = std::max(most, piece.score);
    }
  unknown_score_ = least - kUnknownPenalty;
  std::vector<Trie::Key> keys;
  for (size_t i = 0; i < model.pieces.size(); ++i) {
    const Piece& piece = model.pieces[i];
    // A symbol of the user gets a bonus by its length, so that it always wins.
    scores_.push_back(piece.type == PieceType::user_defined
                          ? static_cast<float>(piece.text.size()) * most - 0.1
                          : static_cast<double>(piece.score));
    // Spaces and NULs inside pieces never match: the text has no such spaces, and the library's
    // index no such NULs.
    const bool matches =
        (piece.type == PieceType::normal || piece.type == PieceType::user_defined) &&
        piece.text.find(' ') == std::string::npos && piece.text.find('\0') == std::string::npos;
    if (matches) keys.push_back({spaces_for_symbols(piece.text), static_cast<int32_t>(i)});
  }
  trie_ = Trie(std::move(keys));
}

std::vector<Unigram::Found> Unigram::segment(std::string_view text) const {
  struct Best {
    float score = 0;  // float32 as in SentencePiece: its rounding decides ties
    int32_t id = kUnknown;
    uint32_t begin = UINT32_MAX;  // of the last piece
  };
  std::vector<Best> best(text.size() + 1);
  for (size_t from = 0; from < text.size();) {
    const auto lead = static_cast<unsigned char>(text[from]);
    const size_t character = lead < 0x80 ? 1 : lead < 0xe0 ? 2 : lead < 0xf0 ? 3 : 4;
    const float before = best[from].score;
    bool covered = false;
    uint32_t node = Trie::kRoot;
    for (size_t at = from; at < text.size();) {
      if (!trie_.step(node, static_cast<unsigned char>(text[at++]))) break;
      const int32_t id = trie_.value(node);
      if (id < 0) continue;
      covered = covered || at - from == character;
      const double score = scores_[static_cast<size_t>(id)] + before;
      Best& target = best[at];
      if (target.begin == UINT32_MAX || score > target.score)
        target = {static_cast<float>(score), id, static_cast<uint32_t>(from)};
    }
    if (!covered) {
      Best& target = best[from + character];
      const float score = unknown_score_ + before;
      if (target.begin == UINT32_MAX || score > target.score)
        target = {score, kUnknown, static_cast<uint32_t>(from)};
    }
    from += character;
  }
  std::vector<Found> found;
  for (auto end = static_cast<uint32_t>(text.size()); end > 0; end = best[end].begin)
    found.push_back({best[end].id, end});
  std::reverse(found.begin(), found.end());
  return found;
}

}  // namespace lact::spm
