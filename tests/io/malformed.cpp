#include "malformed.hpp"

#include "tensors.hpp"

#include <cstring>

namespace lact::test {
namespace {

std::string with_length(uint64_t length, const std::string& rest) {
  std::string bytes(sizeof length, '\0');
  std::memcpy(bytes.data(), &length, sizeof length);
  return bytes + rest;
}

/// One tensor "t" of this dtype, shape and offsets, as JSON has them.
std::string one(const std::string& dtype, const std::string& shape, const std::string& offsets,
                size_t buffer) {
  return raw_file(
      "{\"t\":{\"dtype\":" + dtype + ",\"shape\":" + shape + ",\"data_offsets\":" + offsets + "}}",
      buffer);
}

std::string two(const std::string& first, const std::string& second, size_t buffer) {
  return raw_file(R"({"a":{"dtype":"U8","shape":[4],"data_offsets":)" + first +
                      R"(},"b":{"dtype":"U8","shape":[4],"data_offsets":)" + second + "}}",
                  buffer);
}

const std::string kTensor = R"({"dtype":"U8","shape":[4],"data_offsets":[0,4]})";

std::vector<Malformed> frame_files() {
  return {
      {"an empty file", "", "at least 8 bytes"},
      {"a file shorter than its length field", "1234567", "at least 8 bytes"},
      {"a length and nothing else", with_length(2, ""), "truncated"},
      {"no header", with_length(0, ""), "does not begin with {"},
      {"a header longer than the file", with_length(3, "{}"), "truncated"},
      {"a header length that is negative as a signed number", with_length(UINT64_MAX, "{}"),
       "at most 100000000 bytes"},
      {"a header length whose sum with 8 wraps", with_length(UINT64_MAX - 7, "{}"), "at most"},
      {"a header over 100 MB", with_length(100'000'001, "{}"), "at most 100000000 bytes"},
      {"a header of 100 MB in a short file", with_length(100'000'000, "{}"), "truncated"},
      {"a header that is a list", raw_file("[]", 0), "does not begin with {"},
      {"text", "hello, this is no tensor file", "no safetensors file"},
      {"a zip, as pickles come in", std::string("PK\3\4\0\0\0\0\0\0\0\0", 12), "no safetensors"},
      {"bytes after the last tensor", one("\"U8\"", "[4]", "[0,4]", 5), "1 bytes after"},
      {"bytes where there are no tensors", raw_file("{}", 3), "3 bytes after"},
      {"a buffer cut short", one("\"U8\"", "[4]", "[0,4]", 3), "truncated"},
      {"no buffer", one("\"U8\"", "[4]", "[0,4]", 0), "truncated"},
  };
}

std::vector<Malformed> json_files() {
  const std::string open = R"({"t":)" + kTensor;
  return {
      {"JSON that does not end", raw_file(open, 4), "not JSON"},
      {"a comma too many", raw_file(open + ",}", 4), "not JSON"},
      {"two headers", raw_file(open + "}{}", 4), "not JSON"},
      {"a NUL and something behind it", raw_file(open + "}" + std::string("\0{\"x\":1}", 9), 4),
       "NUL"},
      {"padding with NULs", raw_file(open + "}" + std::string(4, '\0'), 4), "NUL"},
      {"a comment", raw_file(open + "/**/}", 4), "not JSON"},
      {"invalid UTF-8 in a name", raw_file("{\"\xff\":" + kTensor + "}", 4), "not JSON"},
      {"overlong UTF-8 in a name", raw_file("{\"\xc0\xaf\":" + kTensor + "}", 4), "not JSON"},
      {"a surrogate in UTF-8", raw_file("{\"\xed\xa0\x80\":" + kTensor + "}", 4), "not JSON"},
      {"half a surrogate pair", raw_file("{\"\\ud800\":" + kTensor + "}", 4), "not JSON"},
      {"UTF-8 cut by the header's end", raw_file("{\"\xc3", 4), "not JSON"},
      {"a byte order mark", raw_file("\xef\xbb\xbf{}", 0), "does not begin with {"},
      {"deep nesting", raw_file("{\"t\":" + std::string(200000, '['), 4), "expected an object"},
      {"deep objects",
       raw_file(
           [] {
             std::string text;
             for (int i = 0; i < 100000; ++i) text += "{\"t\":";
             return text;
           }(),
           4),
       "unknown key t"},
      {"a tensor twice", raw_file(open + ",\"t\":" + kTensor + "}", 4), "t: comes twice", true},
      {"a tensor twice, once escaped", raw_file(open + ",\"\\u0074\":" + kTensor + "}", 4),
       "t: comes twice", true},
      {"metadata twice", raw_file(R"({"__metadata__":{},"__metadata__":{}})", 0),
       "__metadata__: comes twice"},
      {"a metadata key twice", raw_file(R"({"__metadata__":{"a":"b","a":"c"}})", 0),
       "a comes twice", true},
      {"metadata that is null", raw_file(R"({"__metadata__":null})", 0), "found null", true},
      {"metadata that is a list", raw_file(R"({"__metadata__":[]})", 0), "found a list"},
      {"metadata that is a tensor", raw_file(R"({"__metadata__":)" + kTensor + "}", 4),
       "expected a string"},
      {"a number in metadata", raw_file(R"({"__metadata__":{"a":1}})", 0), "expected a string"},
      {"an object in metadata", raw_file(R"({"__metadata__":{"a":{}}})", 0), "expected a string"},
  };
}

std::vector<Malformed> tensor_files() {
  const auto fields = [](const std::string& text) { return raw_file("{\"t\":{" + text + "}}", 4); };
  return {
      {"a tensor that is a number", raw_file(R"({"t":4})", 0), "t: expected an object, found 4"},
      {"a tensor that is null", raw_file(R"({"t":null})", 0), "found null"},
      {"a tensor that is a string", raw_file(R"({"t":"x"})", 0), "found \"x\""},
      {"no dtype", fields(R"("shape":[4],"data_offsets":[0,4])"), "expected dtype, shape"},
      {"no shape", fields(R"("dtype":"U8","data_offsets":[0,4])"), "expected dtype, shape"},
      {"no offsets", fields(R"("dtype":"U8","shape":[4])"), "expected dtype, shape"},
      {"nothing", fields(""), "expected dtype, shape"},
      {"a dtype twice", fields(R"("dtype":"U8","dtype":"U8","shape":[4],"data_offsets":[0,4])"),
       "dtype comes twice"},
      {"a shape twice", fields(R"("dtype":"U8","shape":[4],"shape":[4],"data_offsets":[0,4])"),
       "shape comes twice"},
      {"an unknown key", fields(R"("dtype":"U8","shape":[4],"data_offsets":[0,4],"x":1)"),
       "unknown key x", true},
      {"an unknown dtype", one("\"F7\"", "[4]", "[0,4]", 4), "unknown dtype F7"},
      {"an empty dtype", one("\"\"", "[4]", "[0,4]", 4), "unknown dtype"},
      {"a dtype in lower case", one("\"u8\"", "[4]", "[0,4]", 4), "unknown dtype u8"},
      {"an unknown dtype without bytes", one("\"Q9\"", "[0]", "[0,0]", 0), "unknown dtype Q9"},
      {"a dtype that is a number", one("8", "[4]", "[0,4]", 4), "dtype: expected a string"},
      {"a dtype that is a list", one("[\"U8\"]", "[4]", "[0,4]", 4), "dtype: expected a string"},
      {"a shape that is a number", one("\"U8\"", "4", "[0,4]", 4), "shape: expected a list"},
      {"a shape that is an object", one("\"U8\"", "{}", "[0,4]", 4), "shape: expected a list"},
      {"a nested shape", one("\"U8\"", "[[4]]", "[0,4]", 4), "shape: expected whole numbers"},
      {"a negative dimension", one("\"U8\"", "[-4]", "[0,4]", 4), "found -4"},
      {"two negative dimensions", one("\"U8\"", "[-2,-2]", "[0,4]", 4), "found -2"},
      {"minus zero as a dimension", one("\"U8\"", "[-0]", "[0,0]", 0), "whole numbers"},
      {"a dimension with a fraction", one("\"U8\"", "[4.0]", "[0,4]", 4), "found 4.0"},
      {"a dimension with an exponent", one("\"U8\"", "[4e0]", "[0,4]", 4), "found 4e0"},
      {"a dimension in a string", one("\"U8\"", "[\"4\"]", "[0,4]", 4), "found \"4\""},
      {"a dimension that is true", one("\"U8\"", "[true]", "[0,1]", 1), "found a boolean"},
      {"a dimension of 2^63", one("\"U8\"", "[9223372036854775808]", "[0,0]", 0), "too large"},
      {"a dimension of 2^64", one("\"U8\"", "[18446744073709551616]", "[0,0]", 0), "whole"},
      {"a shape product that wraps to 0", one("\"U8\"", "[4294967296,4294967296]", "[0,0]", 0),
       "overflows"},
      {"a shape product that wraps to 4", one("\"U8\"", "[4611686018427387905,4]", "[0,4]", 4),
       "overflows"},
      {"a size in bytes that wraps to 0", one("\"F64\"", "[2305843009213693952]", "[0,0]", 0),
       "overflows"},
      {"a size in bits that wraps to 0", one("\"U8\"", "[2305843009213693952]", "[0,0]", 0),
       "overflows"},
      {"strides that wrap, though empty", one("\"U8\"", "[0,4294967296,4294967296]", "[0,0]", 0),
       "overflows", true},
      {"65 dimensions",
       one(
           "\"U8\"",
           "[1" +
               [] {
                 std::string text;
                 for (int i = 0; i < 64; ++i) text += ",1";
                 return text;
               }() +
               "]",
           "[0,1]", 1),
       "more than 64 dimensions", true},
      {"half a byte", one("\"F4\"", "[3]", "[0,2]", 2), "whole number of bytes"},
      {"three quarters of a byte", one("\"F6_E2M3\"", "[1]", "[0,1]", 1), "whole number of bytes"},
  };
}

std::vector<Malformed> offset_files() {
  return {
      {"one offset", one("\"U8\"", "[4]", "[0]", 4), "expected two numbers"},
      {"three offsets", one("\"U8\"", "[4]", "[0,4,4]", 4), "found more"},
      {"a negative offset", one("\"U8\"", "[4]", "[-4,0]", 4), "found -4"},
      {"an offset with a fraction", one("\"U8\"", "[4]", "[0.0,4]", 4), "found 0.0"},
      {"an offset of 2^64", one("\"U8\"", "[4]", "[0,18446744073709551616]", 4), "whole numbers"},
      {"an end of 2^64 - 1", one("\"U8\"", "[4]", "[0,18446744073709551615]", 4),
       "expected 4 bytes"},
      {"an end before the begin", two("[4,0]", "[0,4]", 4), "expected"},
      {"an end far before the begin", one("\"U8\"", "[4]", "[18446744073709551615,3]", 4),
       "expected to begin at byte 0"},
      {"an end beyond the buffer", one("\"U8\"", "[1000]", "[0,1000]", 4), "truncated"},
      {"fewer bytes than the shape needs", one("\"F32\"", "[4]", "[0,4]", 4), "expected 16 bytes"},
      {"more bytes than the shape needs", one("\"U8\"", "[2]", "[0,4]", 4), "expected 2 bytes"},
      {"bytes for an empty tensor", one("\"U8\"", "[0]", "[0,4]", 4), "expected 0 bytes"},
      {"a hole in front", one("\"U8\"", "[4]", "[1,5]", 5), "nothing covers the gap"},
      {"a hole between", two("[0,4]", "[5,9]", 9), "nothing covers the gap"},
      {"an overlap", two("[0,4]", "[3,7]", 7), "overlaps"},
      {"two tensors on the same bytes", two("[0,4]", "[0,4]", 4), "overlaps"},
      {"a tensor within another",
       raw_file(R"({"a":{"dtype":"U8","shape":[8],"data_offsets":[0,8]},)"
                R"("b":{"dtype":"U8","shape":[2],"data_offsets":[2,4]}})",
                8),
       "overlaps"},
      {"an empty tensor within another",
       raw_file(R"({"a":{"dtype":"U8","shape":[8],"data_offsets":[0,8]},)"
                R"("b":{"dtype":"U8","shape":[0],"data_offsets":[2,2]}})",
                8),
       "overlaps"},
  };
}

}  // namespace

std::vector<Malformed> malformed_files() {
  std::vector<Malformed> all;
  for (const auto& some : {frame_files(), json_files(), tensor_files(), offset_files()})
    all.insert(all.end(), some.begin(), some.end());
  return all;
}

std::string sound_file() {
  auto bytes = raw_file(R"({"__metadata__":{"lact.kind":"state","größe":"\u00fc"},)"
                        R"("w":{"dtype":"F64","shape":[1,3],"data_offsets":[0,24]},)"
                        R"("empty":{"dtype":"F32","shape":[2,0],"data_offsets":[24,24]},)"
                        R"("b.größe":{"dtype":"BF16","shape":[],"data_offsets":[24,26]},)"
                        R"("mask":{"dtype":"BOOL","shape":[3],"data_offsets":[26,29]}}  )",
                        29);
  for (size_t i = 0; i < 26; ++i) bytes[bytes.size() - 29 + i] = static_cast<char>(i * 7);
  return bytes;
}

}  // namespace lact::test
