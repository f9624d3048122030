// Files of torch.save and NumPy.

#include "../io/pickles.hpp"
#include "targets.hpp"

#include <lact/io/checkpoint.hpp>
#include <lact/io/pickle.hpp>

namespace lact::fuzz {
namespace {

using namespace test::pickles;

const std::string kFour = floats({1, 2, 3, 4});

std::vector<std::pair<std::string, std::string>> tensors() {
  const auto whole = storage("FloatStorage", "0", 4);
  return {{"module.w", tensor(whole, 0, {2, 2}, {1, 2})},
          {"mask", tensor(storage("BoolStorage", "1", 2), 1, {1}, {1})}};
}

std::vector<std::string> zip_seeds() {
  return {zip(archive(dict({{"model", dict(tensors())}}), {{"0", kFour}, {"1", "\x01\x01"}})),
          zip(archive(dict({{"w", tensor(storage("HalfStorage", "0", 8), 2, {3}, {2})}}),
                      {{"0", kFour}}))};
}

/// Opcodes of protocol 4: a frame, short names, a name from the stack, a memo without numbers.
std::string framed() {
  const auto name = [](const std::string& text) {
    return "\x8c" + std::string(1, static_cast<char>(text.size())) + text + "\x94";
  };
  const auto type = name("numpy") + name("dtype") + "\x93\x94" + name("f4") + "\x85R\x94";
  const auto scalar = name("numpy.core.multiarray") + name("scalar") + "\x93\x94";
  const auto rest =
      "}\x94" + name("a") + scalar + type + "C\x04" + kFour.substr(0, 4) + "\x86\x94R\x94s.";
  const std::string size(1, static_cast<char>(rest.size()));
  return "\x80\x04\x95" + size + std::string(7, '\0') + rest;
}

std::vector<std::string> pickle_seeds() {
  const auto type = call(global("numpy", "dtype"), {text("f4")});
  const auto buffer = call(global("numpy._core.numeric", "_frombuffer"),
                           {"C\x10" + kFour, type, tuple({number(4)}), text("C")});
  const auto bytes = call(global("_codecs", "encode"), {text("\u00e9\u00ff"), text("latin1")});
  return {old_file(dict(tensors()), {{"0", 4, kFour}, {"1", 2, "\x01\x01"}}),
          pickle(dict({{"Conv_0", dict({{"kernel", array({2, 2}, kFour, ">")}})}})), framed(),
          pickle(dict({{"a", buffer},
                       {"b", bytes},
                       {"c", "G" + std::string(8, '@')},
                       {"d", list({"N", "\x88", "K\x07"})},
                       {"e", global("torch", "float32")}}))};
}

void look_at(const io::Value& value) {
  using Kind = io::Value::Kind;
  if (value.kind() == Kind::list || value.kind() == Kind::tuple)
    for (const auto& item : value.items()) look_at(item);
  if (value.kind() == Kind::dict)
    for (const auto& [key, item] : value.pairs()) {
      look_at(key);
      look_at(item);
    }
  if (value.kind() == Kind::text || value.kind() == Kind::name)
    use(value.text().data(), value.text().size());
  if (value.kind() == Kind::bytes || value.kind() == Kind::large)
    use(value.bytes().data(), value.bytes().size());
  if (value.kind() != Kind::tensor) return;
  const auto tensor = value.tensor().read();
  if (tensor.nbytes() != value.tensor().bytes() || !tensor.is_contiguous())
    throw std::logic_error("a tensor of another size than was said");
  use(tensor.const_data_ptr(), tensor.nbytes());
}

void attempt(const std::string& bytes) {
  const auto file = scratch() / "f.pt";
  put(file, bytes);
  look_at(io::read_pickle(file));
  const auto opened = io::Checkpoint::open(file);
  for (const auto& name : opened.names()) opened.tensor(name);
}

}  // namespace

std::vector<Target> pickle_targets() {
  const std::vector<std::string> words = {"ctorch._utils\n_rebuild_tensor_v2\n",
                                          "ctorch\nFloatStorage\n",
                                          "ccollections\nOrderedDict\n",
                                          "cnumpy.core.multiarray\n_reconstruct\n",
                                          "cnumpy\nndarray\n",
                                          "cnumpy\ndtype\n",
                                          "c_codecs\nencode\n"};
  return {{"torch-zip", zip_seeds, attempt, {Exit::data}, words},
          {"pickle", pickle_seeds, attempt, {Exit::data}, words}};
}

}  // namespace lact::fuzz
