#pragma once
// The best segmentation under a unigram model, with SentencePiece's own sums and ties, but three
// times as fast: it keeps no surfaces and no map back to the text.

#include "model_file.hpp"

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace lact::spm {

/// Pieces by their bytes: a trie in two arrays. The children of node n stand at base[n] + byte, and
/// know n as their parent.
class Trie {
 public:
  struct Key {
    std::string text;
    int32_t value;
  };
  Trie() = default;
  /// Keys are distinct and not empty, in any order; values are not negative.
  explicit Trie(std::vector<Key> keys);

  static constexpr uint32_t kRoot = 0;
  /// Goes from `node` along `byte`; false if no key goes there.
  bool step(uint32_t& node, unsigned char byte) const {
    const uint32_t next = nodes_[node].base + byte;
    if (nodes_[next].parent != node) return false;
    node = next;
    return true;
  }
  /// The key that ends here, or -1.
  int32_t value(uint32_t node) const { return nodes_[node].value; }

 private:
  static constexpr uint32_t kFree = UINT32_MAX;
  struct Node {
    uint32_t base = 0, parent = kFree;
    int32_t value = -1;
  };
  uint32_t find_base(const std::vector<unsigned char>& bytes);
  void grow(size_t size);

  std::vector<Key> keys_;  // while building
  std::vector<Node> nodes_;
  size_t search_from_ = 1;
};

class Unigram {
 public:
  explicit Unigram(const ModelFile& model);

  static constexpr int32_t kUnknown = -1;
  struct Found {
    int32_t id;        ///< kUnknown: one character that no piece covers
    uint32_t end = 0;  ///< in bytes of the text
  };
  /// Pieces of `text`, which is valid UTF-8 and has spaces where pieces have U+2581; one after
  /// another. Sums start at zero.
  std::vector<Found> segment(std::string_view text) const;

 private:
  Trie trie_;
  std::vector<double> scores_;
  float unknown_score_ = 0;
};

}  // namespace lact::spm
