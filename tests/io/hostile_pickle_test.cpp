// Pickles that no program wrote: lies about sizes, bombs, and names that would run something.

#include "pickles.hpp"
#include "tensors.hpp"

#include <lact/io/checkpoint.hpp>
#include <lact/io/pickle.hpp>

#include <cstring>
#include <fstream>

using namespace lact;
using namespace lact::test;
using namespace lact::test::pickles;
using io::Checkpoint;

namespace {

struct Attempt {
  Exit code;
  std::string words;
};

/// Reads a file of these bytes with all its tensors.
Attempt attempt(const std::string& bytes) {
  static const TemporaryFolder folder;
  put(folder / "f.pt", bytes);
  const auto [code, words] = error_of([&] {
    const auto file = Checkpoint::open(folder / "f.pt");
    for (const auto& name : file.names()) file.tensor(name);
  });
  if (code != Exit::ok) {
    CHECK(words.find((folder / "f.pt").string()) == 0);
    CHECK(words.find('\n') == words.npos);
  }
  return {code, words};
}

void refused(const std::string& bytes, const std::string& words) {
  const auto found = attempt(bytes);
  CAPTURE(words);
  CHECK(found.code == Exit::data);
  CHECK_THAT(found.words, Catch::Contains(words));
}

/// A plain pickle of this value.
void refused_value(const std::string& value, const std::string& words) {
  refused(pickle(value), words);
}

const std::string kTwelve = floats({0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11});

/// A checkpoint of one tensor on a storage of twelve floats.
std::string with_tensor(int64_t offset, const std::vector<int64_t>& shape,
                        const std::vector<int64_t>& strides) {
  return zip(
      archive(dict({{"a", tensor(storage("FloatStorage", "0", 12), offset, shape, strides)}}),
              {{"0", kTwelve}}));
}

Zip sound() {
  return archive(dict({{"a", tensor(storage("FloatStorage", "0", 12), 0, {3, 4}, {4, 1})}}),
                 {{"0", kTwelve}});
}

std::string changed(const std::function<void(Zip&)>& change) {
  auto made = sound();
  change(made);
  return zip(made);
}

/// A number's first bytes.
std::string little(uint64_t value, size_t width) {
  return std::string(reinterpret_cast<const char*>(&value), width);
}

int64_t peak_kilobytes() {
  std::ifstream status("/proc/self/status");
  for (std::string word; status >> word;)
    if (int64_t value = 0; word == "VmHWM:" && status >> value) return value;
  return 0;
}

}  // namespace

TEST_CASE("what this file builds by hand is sound before it is broken", "[io]") {
  CHECK(attempt(zip(sound())).code == Exit::ok);
  CHECK(attempt(with_tensor(4, {2, 2}, {4, 2})).code == Exit::ok);
  CHECK(attempt(pickle(dict({{"a", array({3, 4}, kTwelve)}}))).code == Exit::ok);
  const auto value = dict({{"a", tensor(storage("FloatStorage", "k", 12), 0, {12}, {1})}});
  CHECK(attempt(old_file(value, {{"k", 12, kTwelve}})).code == Exit::ok);
}

TEST_CASE("names that no checkpoint needs are refused, however they are spelled", "[io]") {
  const auto told = [](const std::string& name) {
    return name + ": not something a checkpoint needs; refused";
  };
  refused_value(call(global("posix", "system"), {text("true")}), told("posix.system"));
  refused_value(text("os") + text("system") + "\x93", told("os.system"));
  refused_value(global("builtins", "eval"), told("builtins.eval"));
  refused_value(global("__builtin__", "getattr"), told("__builtin__.getattr"));
  refused_value(global("torch", "load"), told("torch.load"));
  refused_value(global("torch.hub", "load_state_dict_from_url"), "refused");
  refused_value(global("numpy", "load"), told("numpy.load"));
  refused_value(global("collections.OrderedDict", "__init__"), "refused");
  refused_value(global("a\x1b[31m", "b"), "a\\x1b[31m.b");
  // Opcodes that call or look up by other ways: INST, OBJ, NEWOBJ, NEWOBJ_EX, EXT1, PERSID, GET.
  for (const char* opcode : {"(iposix\nsystem\n", "(cnumpy\nndarray\no", "cnumpy\nndarray\n)\x81",
                             "cnumpy\nndarray\n)}\x92", "\x82\x01", "Pposix\n", "I1\ng0\n", "\x97"})
    refused_value(opcode, "not something a checkpoint needs; refused");
  refused_value(call(global("torch", "float32"), {}), "calls torch.float32, which no checkpoint");
  refused_value(call(text("posix"), {}), "calls text, which no checkpoint needs");
  refused_value(global("collections", "OrderedDict") + "NR", "which no checkpoint needs");
  refused_value("K\x01}b", "gives an integer a state");
}

TEST_CASE("a tensor that reaches beyond its storage is refused", "[io]") {
  const std::string beyond = "reaches beyond its storage of 48 bytes";
  const int64_t large = int64_t{1} << 62;
  refused(with_tensor(0, {13}, {1}), beyond);
  refused(with_tensor(1, {3, 4}, {4, 1}), beyond);
  refused(with_tensor(0, {3, 4}, {5, 1}), beyond);
  refused(with_tensor(12, {}, {}), beyond);
  refused(with_tensor(0, {2}, {large}), beyond);
  refused(with_tensor(0, {3, 3}, {large, large}), beyond);
  refused(with_tensor(large, {1}, {1}), beyond);
  refused(with_tensor(0, {large, large}, {0, 0}), "the size of its shape overflows");
  refused(with_tensor(0, {large}, {1}), "the size of its shape overflows");
  refused(with_tensor(-1, {2}, {1}), "expected a whole number from 0, found -1");
  refused(with_tensor(11, {2}, {-1}), "expected a whole number from 0, found -1");
  refused(with_tensor(0, {-2}, {1}), "expected a whole number from 0, found -2");
  refused(with_tensor(0, {2, 2}, {1}), "2 dimensions, but 1 strides");
  refused(with_tensor(0, std::vector<int64_t>(65, 1), std::vector<int64_t>(65, 1)),
          "more than 64 dimensions");
  CHECK(attempt(with_tensor(large, {0, 4}, {4, 1})).code == Exit::ok);  // nothing is touched
}

TEST_CASE("a storage smaller than it says is refused, and one that is not there", "[io]") {
  const auto of = [](int64_t count, const std::string& bytes) {
    const auto value = dict({{"a", tensor(storage("FloatStorage", "0", count), 0, {1}, {1})}});
    return zip(archive(value, {{"0", bytes}}));
  };
  refused(of(13, kTwelve), "storage 0: expected 52 bytes, found 48");
  refused(of(int64_t{1} << 62, kTwelve), "its size overflows");
  refused(of(-1, kTwelve), "expected a whole number from 0");
  refused(changed([](Zip& zip) { zip.parts[2].name = "m/data/1"; }), "no record data/0");
  refused_value(dict({{"a", storage("FloatStorage", "0", 1)}}), "outside a file of torch.save");
  refused(zip(archive(tuple({text("storage")}) + "Q", {})), "expected a storage");
  refused(zip(archive("K\x01Q", {})), "expected a storage's tuple");
}

TEST_CASE("bombs are refused before they take memory", "[io]") {
  const std::string memory = "takes more memory";
  refused_value("]r\xff\xff\xff\xff", "memo 4294967295 after 0 of them");
  refused_value("h\x07", "memo 7 of 0: there is none");
  // A million lists in each other, and a list in itself.
  refused_value(std::string(1'000'000, ']') + std::string(999'999, 'a'), memory);
  refused_value(std::string(20'000, ']') + std::string(19'999, 'a'), "nested deeper than 100");
  refused_value("]q" + std::string(1, '\0') + "h" + std::string(1, '\0') + "a", "contains itself");
  refused_value("}q" + std::string(1, '\0') + "K\x01h" + std::string(1, '\0') + "s",
                "contains itself");
  // b = [a], a.append(b).
  refused_value("]q" + std::string(1, '\0') + "]q\x01h" + std::string(1, '\0') + "ah" +
                    std::string(1, '\0') + "h\x01" + "a",
                "inside something else already");
  // Each list holds the one before twice.
  std::string doubled = "]q" + std::string(1, '\0');
  for (char i = 0; i < 60; ++i)
    doubled += "](h" + std::string(1, i) + "h" + std::string(1, i) + "eq" +
               std::string(1, static_cast<char>(i + 1));
  refused_value(doubled, "holds more than 10000000 values");
  // A number repeated in every place of a shape; many tensors on one storage.
  refused(with_tensor(0, {1 << 20, 1 << 20}, {0, 0}), memory);
  std::vector<std::pair<std::string, std::string>> views;
  for (int i = 0; i < 40; ++i)
    views.emplace_back(std::to_string(i),
                       tensor(storage("FloatStorage", "0", 12), 0, {1 << 18}, {0}));
  refused(zip(archive(dict(views), {{"0", kTwelve}})), memory);
  // The same text encoded again and again.
  std::string encoded = text(std::string(1 << 20, 'x')) + "q" + std::string(1, '\0');
  for (int i = 0; i < 40; ++i)
    encoded += global("_codecs", "encode") + "h" + std::string(1, '\0') + text("latin1") + "\x86R";
  refused_value(encoded, memory);
}

TEST_CASE("millions of values take no more than their budget", "[io]") {
  const int64_t before = peak_kilobytes();
  for (const char* one : {"]", "}", "N", "(", "K\x01\x85", "U"}) {
    std::string many;
    while (many.size() < 8'000'000)
      many += std::string(one) + (one[0] == 'U' ? std::string(1, '\0') : "");
    CAPTURE(one);
    CHECK(attempt(pickle(many)).code == Exit::data);
  }
  if (!instrumented()) CHECK(peak_kilobytes() - before < 400'000);
}

TEST_CASE("text, keys and items are what they must be", "[io]") {
  refused_value(text("\xff"), "text that is not UTF-8");
  refused_value(text("\xed\xa0\x80"), "text that is not UTF-8");
  refused_value(dict({{"a", "N"}, {"a", "N"}}), "key a comes twice");
  refused_value("}(" + text("a") + "u", "a key of a dict without a value");
  refused_value("](K\x01K\x01u", "expected a dict, found a list");
  refused_value(
      "}K\x01"
      "a",
      "expected a list, found a dict");
  refused_value("K\x01K\x02", "ends with values left over");
  refused_value("(K\x01", "ends with values left over");
  refused_value("", "takes a value where there is none");
  refused_value("(K\x01(R", "takes a value where there is none");
  refused_value("t", "has no mark");
  refused_value("X\xff\xff\xff\xff", "truncated");
  refused_value("\x95\xff\xff\xff\xff\xff\xff\xff\xff", "truncated: expected a frame");
  refused_value("c" + std::string(300, 'x') + "\ny\n", "expected a name");
  refused("\x80\x06N.", "expected protocol 2 to 5, found 6");
  refused("(lp0\n.", "no file of torch.save");
  refused("version https://git-lfs", "no file of torch.save");
  refused("", "is empty");
  refused(pickle("}") + "x", "bytes follow the end of the pickle");
  refused(pickle("}"), "expected a dict of tensors, found none in it");
  const auto one = array({1}, floats({1}));
  refused_value(dict({{"a", one}, {"module.a", one}}), "tensor a: comes twice");
  refused_value("}(U\x01\xff" + one + "u", "name is not UTF-8");
  refused_value(call(global("collections", "OrderedDict"), {list({tuple({"N"})})}),
                "an item of a dict: expected 2 arguments, found 1");
  refused_value(call(global("_codecs", "encode"), {text("\u20ac"), text("latin1")}),
                "a character that latin1 does not have");
  refused_value(call(global("_codecs", "encode"), {text("a"), text("rot13")}), "latin1");
}

TEST_CASE("an array whose bytes do not fit its shape is refused", "[io]") {
  refused_value(array({3}, kTwelve), "expected 12 bytes for its shape, found 48");
  refused_value(array({int64_t{1} << 62, 4}, kTwelve), "bytes for its shape");
  refused_value(array({3, 4}, kTwelve, "?"), "expected an order of bytes, found ?");
  const auto type = call(global("numpy", "dtype"), {text("f4")});
  const auto from = [&](const std::string& axes) {
    return call(
        global("numpy._core.numeric", "_frombuffer"),
        {"C\x10" + kTwelve.substr(0, 16), type, tuple({number(2), number(2)}), text("K"), axes});
  };
  CHECK(attempt(pickle(dict({{"a", from(tuple({number(1), number(0)}))}}))).code == Exit::ok);
  for (const auto& axes : {tuple({}), tuple({number(0)}), tuple({number(0), number(0)}),
                           tuple({number(1), number(2)})})
    refused_value(dict({{"a", from(axes)}}), "its axes are no order of 2 axes");
  refused_value(call(global("numpy", "dtype"), {text("V8")}), "numpy.dtype V8");
  refused_value(dict({{"a", type + tuple({number(3), text("<")}) + "b"}}), "found none in it");
}

TEST_CASE("bytes that are neither true nor false are refused", "[io]") {
  const auto value = dict({{"a.b", tensor(storage("BoolStorage", "0", 2), 0, {2}, {1})}});
  refused(zip(archive(value, {{"0", "\x01\x02"}})), "tensor a.b: BOOL must be 0 or 1");
}

TEST_CASE("a zip archive that contradicts itself is refused", "[io]") {
  const auto part = [](size_t number, const std::function<void(Part&)>& change) {
    return changed([&](Zip& zip) { change(zip.parts[number]); });
  };
  refused(part(2, [](Part& p) { p.size = p.packed = 52; }), "contradict each other");
  refused(part(2, [](Part& p) { p.size = 20; }), "is compressed");
  refused(part(2, [](Part& p) { p.method = 8; }), "is compressed");
  refused(part(2, [](Part& p) { p.flags = 1; }), "is encrypted");
  refused(part(2, [](Part& p) { p.header_name = "m/data/9"; }), "contradict each other");
  refused(part(2, [](Part& p) { p.header = 0; }), "contradict each other");
  refused(part(2, [](Part& p) { p.header = 0xfffffff0; }), "beyond the end of the file");
  refused(part(2, [](Part& p) { p.name = p.header_name.emplace("m/data.pkl"); }), "comes twice");
  refused(part(2, [](Part& p) { p.name = "m/data/\xff"; }), "its name is not UTF-8");
  refused(part(1, [](Part& p) { p.content = "middle"; }), "expected little or big, found middle");
  refused(part(0, [](Part& p) { p.name = "m/data.txt"; }), "it has no data.pkl");
  refused(changed([](Zip& z) { z.parts.push_back({"n/data.pkl", ""}); }), "holds two of data.pkl");
  refused(changed([](Zip& z) { z.count = 2; }), "more bytes in the directory than entries");
  refused(changed([](Zip& z) { z.count = 4; }), "cannot hold 4 entries");
  refused(changed([](Zip& z) { z.count = 65000; }), "cannot hold 65000 entries");
  refused(changed([](Zip& z) { z.directory = 4; }), "right before the end record");
  refused(changed([](Zip& z) { z.before_end = "gap"; }), "right before the end record");
  refused(changed([](Zip& z) { z.after_end = "comment"; }), "truncated, or with a comment");
  refused(zip({}), "it has no data.pkl");
  refused("PK", "truncated");
  // An entry inside another's content, with a header of its own that fits it.
  auto inner = sound();
  const auto hidden = zip({{{"m/data/0", kTwelve}}});
  inner.parts[1] = {"m/note", hidden};
  const auto begin = zip({{inner.parts[0], inner.parts[1]}}).find(hidden);
  inner.parts[2].header = static_cast<uint32_t>(begin);
  refused(zip(inner), "overlaps what follows it");
}

TEST_CASE("a zip64 size is read, and refused where it lies", "[io]") {
  const auto with_extra = [](const std::string& extra) {
    return changed([&](Zip& zip) {
      zip.parts[2].size = zip.parts[2].packed = 0xffffffff;
      zip.parts[2].extra = extra;
    });
  };
  const auto other = little(0x5455, 2) + little(1, 2) + "x", zip64 = little(1, 2);
  CHECK(attempt(with_extra(other + zip64 + little(16, 2) + little(48, 8) + little(48, 8))).code ==
        Exit::ok);
  refused(with_extra(zip64 + little(8, 2) + little(48, 8)), "m/data/0: has no size");
  refused(with_extra(zip64 + little(99, 2) + little(48, 8)), "contradict each other");
  refused(with_extra(zip64 + little(16, 2) + little(47, 8) + little(48, 8)), "is compressed");
  const auto huge = little(~uint64_t{0}, 8);
  refused(with_extra(zip64 + little(16, 2) + huge + huge), "contradict each other");
}

TEST_CASE("a zip64 directory is read, and refused where it lies", "[io]") {
  const auto plain = zip(sound());
  const auto end = plain.size() - 22;
  uint32_t size = 0, begin = 0;
  std::memcpy(&size, plain.data() + end + 12, 4);
  std::memcpy(&begin, plain.data() + end + 16, 4);
  const auto wide = [&](uint64_t count, uint64_t bytes, uint64_t from, uint64_t record) {
    const auto more = little(0x06064b50, 4) + little(44, 8) + little(45, 2) + little(45, 2) +
                      little(0, 8) + little(count, 8) + little(count, 8) + little(bytes, 8) +
                      little(from, 8) + little(0x07064b50, 4) + little(0, 4) + little(record, 8) +
                      little(1, 4);
    return plain.substr(0, end) + more + little(0x06054b50, 4) + little(0, 4) + little(0xffff, 2) +
           little(0xffff, 2) + little(0xffffffff, 4) + little(0xffffffff, 4) + little(0, 2);
  };
  CHECK(attempt(wide(3, size, begin, end)).code == Exit::ok);
  refused(wide(3, size, begin, end - 1), "right before its locator");
  refused(wide(3, size, begin, ~uint64_t{0}), "right before its locator");
  refused(wide(3, size + 1, begin, end), "right before the end record");
  refused(wide(3, size, ~uint64_t{0}, end), "right before the end record");
  refused(wide(~uint64_t{0}, size, begin, end), "cannot hold");
  auto two = wide(3, size, begin, end);
  for (const size_t at : {8, 10}) two.replace(two.size() - 22 + at, 2, std::string("\x02\0", 2));
  refused(two, "contradict each other");
}

TEST_CASE("the storages of an old file are those that its tensors name", "[io]") {
  const auto value = dict({{"a", tensor(storage("FloatStorage", "k", 12), 0, {12}, {1})}});
  refused(old_file(value, {{"k", 11, kTwelve}}), "storage k: expected 12 elements, found 11");
  refused(old_file(value, {{"k", -1, kTwelve}}), "storage k: expected 12 elements");
  refused(old_file(value, {{"k", 12, kTwelve.substr(1)}}),
          "truncated: expected 48 bytes, found 47");
  refused(old_file(value, {{"k", 12, kTwelve + "x"}}), "1 bytes follow the last storage");
  refused(old_file(value, {}), "storage k: has no bytes");
  refused(old_file(value, {{"k", 12, kTwelve}, {"l", 12, kTwelve}}), "is of no tensor");
  refused(old_file(value, {{"k", 12, kTwelve}, {"k", 12, kTwelve}}), "comes twice");
  const auto other = dict({{"a", tensor(storage("FloatStorage", "k", 12), 0, {12}, {1})},
                           {"b", tensor(storage("ByteStorage", "k", 48), 0, {12}, {1})}});
  refused(old_file(other, {{"k", 12, kTwelve}}), "comes again with another type or size");
  auto format = old_file(value, {{"k", 12, kTwelve}});
  format[format.find("M\xe9\x03") + 1] = '\xea';
  refused(format, "expected format 1001");
}

TEST_CASE("views of an old file's storages are read where they begin", "[io]") {
  // As PyTorch 0.3 saved them: ..., count, (key of the view, offset, count).
  const auto view = [](int64_t offset, int64_t count) {
    const auto id = tuple({text("storage"), global("torch", "FloatStorage"), text("k"), text("cpu"),
                           number(12), tuple({text("v"), number(offset), number(count)})}) +
                    "Q";
    return old_file(dict({{"a", tensor(id, 1, {2}, {1})}}), {{"k", 12, kTwelve}});
  };
  const TemporaryFolder folder;
  put(folder / "f.pt", view(5, 3));
  const auto found = Checkpoint::open(folder / "f.pt").tensor("a");
  CHECK(found[0].item<float>() == 6);
  CHECK(found[1].item<float>() == 7);
  refused(view(5, 2), "reaches beyond its storage of 8 bytes");
  refused(view(10, 3), "a view reaches beyond it");
  refused(view(int64_t{1} << 62, 3), "its size overflows");
}
