#include "pickle_machine.hpp"

#include <lact/io/files.hpp>

#include "descriptor.hpp"
#include "pickle_globals.hpp"
#include "pickle_opcodes.hpp"

#include <bit>
#include <cstring>

namespace lact::io {
namespace {

using Kind = Value::Kind;

constexpr size_t kMaxName = 256;  // of a module or class
constexpr int kOldestProtocol = 2, kNewestProtocol = 5;

class Machine {
 public:
  Machine(Reading& reading, std::string_view bytes, const FindStorage& find)
      : reading_(reading), bytes_(bytes), find_(find) {}

  Value run();
  size_t at() const { return at_; }

 private:
  void step(Op op);
  void step_text(Op op);
  bool step_number(Op op);
  bool step_container(Op op);
  bool step_memo(Op op);

  // Input. Errors: 65 at its end.
  std::string_view take(uint64_t count);
  uint64_t number(size_t width);
  std::string_view line();

  // Stack. Errors: 65 if it does not hold enough above the last mark.
  void push(Value value);
  Value pop();
  Value& top();
  std::vector<Value> pop_to_mark();
  std::vector<Value> pop_some(size_t count);
  /// How many values lie above the last mark.
  size_t height() const { return stack_.size() - (marks_.empty() ? 0 : marks_.back()); }

  void push_text(std::string_view text, bool unicode);
  void push_bytes(std::string_view bytes) { push(make_blob(reading_, Kind::bytes, blob(bytes))); }
  void push_long(std::string_view digits);
  Blob blob(std::string_view view) const { return {view, reading_.file, nullptr}; }
  Value::Node& container(Kind kind);
  void set_items(const std::vector<Value>& items);
  void get_global(std::string_view module, std::string_view name);
  void reduce();
  void persistent_id();
  void put(uint64_t place);
  void get(uint64_t place);

  Reading& reading_;
  std::string_view bytes_;
  const FindStorage& find_;
  size_t at_ = 0;
  std::vector<Value> stack_, memo_;
  std::vector<size_t> marks_;
  size_t highest_ = 0;
};

// --- input ---------------------------------------------------------------------------------------

std::string_view Machine::take(uint64_t count) {
  if (count > bytes_.size() - at_)
    throw reading_.fail("truncated: expected ", count, " more bytes, found ", bytes_.size() - at_);
  const auto taken = bytes_.substr(at_, count);
  at_ += count;
  return taken;
}

uint64_t Machine::number(size_t width) {
  uint64_t value = 0;
  std::memcpy(&value, take(width).data(), width);  // little-endian, as we are
  return value;
}

std::string_view Machine::line() {
  const auto end = bytes_.substr(at_, kMaxName + 1).find('\n');
  if (end == bytes_.npos) throw reading_.fail("expected a name and the end of its line");
  const auto text = take(end);
  take(1);
  return text;
}

// --- stack ---------------------------------------------------------------------------------------

void Machine::push(Value value) {
  if (stack_.size() == highest_) {
    ++highest_;
    reading_.charge(2 * sizeof(Value));  // a vector grows by doubling
  }
  stack_.push_back(std::move(value));
}

Value& Machine::top() {
  if (height() == 0) throw reading_.fail("takes a value where there is none");
  return stack_.back();
}

Value Machine::pop() {
  auto value = std::move(top());
  stack_.pop_back();
  return value;
}

std::vector<Value> Machine::pop_some(size_t count) {
  if (height() < count) throw reading_.fail("takes a value where there is none");
  std::vector<Value> values(std::make_move_iterator(stack_.end() - count),
                            std::make_move_iterator(stack_.end()));
  stack_.resize(stack_.size() - count);
  return values;
}

std::vector<Value> Machine::pop_to_mark() {
  if (marks_.empty()) throw reading_.fail("has no mark to go back to");
  auto values = pop_some(height());
  marks_.pop_back();
  return values;
}

// --- values --------------------------------------------------------------------------------------

void Machine::push_text(std::string_view text, bool unicode) {
  if (unicode && !is_utf8(text)) throw reading_.fail("text that is not UTF-8");
  push(make_blob(reading_, Kind::text, blob(text)));
}

/// Two's complement, little end first.
void Machine::push_long(std::string_view digits) {
  if (digits.size() > sizeof(int64_t)) return push(make_blob(reading_, Kind::large, blob(digits)));
  uint64_t value = !digits.empty() && (digits.back() & 0x80) != 0 ? ~uint64_t{0} : 0;
  std::memcpy(&value, digits.data(), digits.size());
  push(Value(static_cast<int64_t>(value)));
}

Value::Node& Machine::container(Kind kind) {
  if (top().kind() != kind)
    throw reading_.fail("expected ", kind == Kind::dict ? "a dict" : "a list", ", found ",
                        top().word());
  return *top().node();
}

void Machine::set_items(const std::vector<Value>& items) {
  auto& dict = container(Kind::dict);
  if (items.size() % 2 != 0) throw reading_.fail("a key of a dict without a value");
  for (size_t i = 0; i < items.size(); i += 2) insert(reading_, dict, items[i], items[i + 1]);
}

void Machine::get_global(std::string_view module, std::string_view name) {
  push(make_node(reading_, Kind::name, &known(reading_, module, name)));
}

void Machine::reduce() {
  const auto arguments = pop(), called = pop();
  const auto* name = holds<const Known*>(called);
  if (name == nullptr || (*name)->call == nullptr || arguments.kind() != Kind::tuple)
    throw reading_.fail("calls ", name == nullptr ? called.word() : (*name)->name.c_str(),
                        ", which no checkpoint needs; refused");
  push((*name)->call(reading_, arguments.items()));
}

void Machine::persistent_id() {
  const auto id = pop();
  if (id.kind() != Kind::tuple)
    throw reading_.fail("expected a storage's tuple, found ", id.word());
  push(make_node(reading_, Kind::name, find_(reading_, id.items())));
}

// --- memo ----------------------------------------------------------------------------------------

/// Writers count up, so a place far off is no checkpoint's. (Python 2 counts from 1.)
void Machine::put(uint64_t place) {
  if (place > memo_.size() + 1)
    throw reading_.fail("memo ", place, " after ", memo_.size(), " of them; refused");
  const auto& value = top();
  if (place >= memo_.size()) {
    reading_.charge(2 * 2 * sizeof(Value));
    memo_.resize(place + 1);
  }
  memo_[place] = value;
}

void Machine::get(uint64_t place) {
  if (place >= memo_.size())
    throw reading_.fail("memo ", place, " of ", memo_.size(), ": there is none");
  push(memo_[place]);
}

// --- opcodes -------------------------------------------------------------------------------------

bool Machine::step_number(Op op) {
  switch (op) {
    case kNone:
      push(Value());
      return true;
    case kNewTrue:
    case kNewFalse:
      push(Value(op == kNewTrue));
      return true;
    case kBinInt:
      push(Value(int64_t{static_cast<int32_t>(number(4))}));
      return true;
    case kBinInt1:
      push(Value(static_cast<int64_t>(number(1))));
      return true;
    case kBinInt2:
      push(Value(static_cast<int64_t>(number(2))));
      return true;
    case kLong1:
      push_long(take(number(1)));
      return true;
    case kLong4:
      push_long(take(number(4)));
      return true;
    case kBinFloat:  // the one number with its big end first
      push(Value(std::bit_cast<double>(__builtin_bswap64(number(8)))));
      return true;
    default:
      return false;
  }
}

bool Machine::step_container(Op op) {
  const auto tuple = [&](std::vector<Value> items) {
    push(make_sequence(reading_, Kind::tuple, std::move(items)));
  };
  switch (op) {
    case kEmptyTuple:
      tuple({});
      return true;
    case kTuple1:
    case kTuple2:
    case kTuple3:
      tuple(pop_some(op - kTuple1 + 1));
      return true;
    case kTuple:
      tuple(pop_to_mark());
      return true;
    case kEmptyList:
      push(make_sequence(reading_, Kind::list, {}));
      return true;
    case kAppend: {
      auto item = pop();
      append(reading_, container(Kind::list), std::move(item));
      return true;
    }
    case kAppends: {
      auto items = pop_to_mark();
      auto& list = container(Kind::list);
      for (auto& item : items) append(reading_, list, std::move(item));
      return true;
    }
    case kEmptyDict:
      push(make_node(reading_, Kind::dict, PickleDict{}));
      return true;
    case kSetItem:
      set_items(pop_some(2));
      return true;
    case kSetItems:
      set_items(pop_to_mark());
      return true;
    default:
      return false;
  }
}

bool Machine::step_memo(Op op) {
  switch (op) {
    case kBinGet:
      get(number(1));
      return true;
    case kLongBinGet:
      get(number(4));
      return true;
    case kBinPut:
      put(number(1));
      return true;
    case kLongBinPut:
      put(number(4));
      return true;
    case kMemoize:
      put(memo_.size());
      return true;
    default:
      return false;
  }
}

void Machine::step_text(Op op) {
  switch (op) {
    case kBinString:
      return push_text(take(number(4)), false);
    case kShortBinString:
      return push_text(take(number(1)), false);
    case kBinUnicode:
      return push_text(take(number(4)), true);
    case kShortBinUnicode:
      return push_text(take(number(1)), true);
    case kBinUnicode8:
      return push_text(take(number(8)), true);
    case kBinBytes:
      return push_bytes(take(number(4)));
    case kShortBinBytes:
      return push_bytes(take(number(1)));
    case kBinBytes8:
    case kByteArray8:
      return push_bytes(take(number(8)));
    default: {
      constexpr char kDigits[] = "0123456789abcdef";
      throw reading_.fail("opcode 0x", kDigits[op >> 4], kDigits[op & 15],
                          ": not something a checkpoint needs; refused");
    }
  }
}

void Machine::step(Op op) {
  if (step_number(op) || step_container(op) || step_memo(op)) return;
  switch (op) {
    case kMark:
      reading_.charge(2 * sizeof(size_t));
      return marks_.push_back(stack_.size());
    case kGlobal: {
      const auto module = line();
      return get_global(module, line());
    }
    case kStackGlobal: {
      const auto name = pop(), module = pop();
      if (name.kind() != Kind::text || module.kind() != Kind::text)
        throw reading_.fail("expected a name, found ", name.word());
      return get_global(module.text(), name.text());
    }
    case kReduce:
      return reduce();
    case kBuild: {
      const auto state = pop();
      return build(reading_, top(), state);
    }
    case kBinPersId:
      return persistent_id();
    case kFrame:
      if (const uint64_t frame = number(8); frame > bytes_.size() - at_)
        throw reading_.fail("truncated: expected a frame of ", frame, " bytes, found ",
                            bytes_.size() - at_);
      return;
    default:
      return step_text(op);
  }
}

Value Machine::run() {
  reading_.byte = 0;
  if (take(1)[0] != static_cast<char>(kProto))
    throw reading_.fail("no pickle of protocol 2 or later");
  const auto protocol = static_cast<int>(number(1));
  if (protocol < kOldestProtocol || protocol > kNewestProtocol)
    throw reading_.fail("expected protocol ", kOldestProtocol, " to ", kNewestProtocol, ", found ",
                        protocol);
  for (;;) {
    reading_.byte = at_;
    const auto op = static_cast<Op>(take(1)[0]);
    if (op == kStop) break;
    step(op);
  }
  auto value = pop();
  if (!stack_.empty() || !marks_.empty()) throw reading_.fail("ends with values left over");
  return value;
}

}  // namespace

Value run_pickle(Reading& reading, std::string_view& bytes, const FindStorage& find) {
  Machine machine(reading, bytes, find);
  auto value = machine.run();
  bytes.remove_prefix(machine.at());
  return value;
}

}  // namespace lact::io
