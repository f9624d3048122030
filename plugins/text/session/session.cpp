#include "session.hpp"

#include <lact/error.hpp>
#include <lact/io/checkpoint.hpp>
#include <lact/io/files.hpp>
#include <lact/ops/ceiling.hpp>

#include <ATen/TensorOperators.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/from_blob.h>
#include <ATen/ops/log_softmax.h>
#include <ATen/ops/tensor.h>

#include <c10/core/InferenceMode.h>

#include <nlohmann/json.hpp>

#include <algorithm>
#include <charconv>
#include <set>

namespace lact::text {
namespace {

constexpr const char* kTokenizer = "tokenizer";
constexpr const char* kDtype = "dtype";
constexpr const char* kRandom = "sampler.random";
constexpr const char* kAtStart = "decoder.at_start";
constexpr const char* kPending = "decoder.pending";
constexpr const char* kLogits = "logits";
constexpr const char* kRecent = "sampler.recent";
constexpr const char* kEver = "sampler.ever";

/// The beginning of a hash, as much as a person compares.
std::string brief(const std::string& hash) {
  return hash.substr(0, 12);
}

template <class T>
at::Tensor to_tensor(const T* data, size_t count, at::ScalarType type) {
  return at::from_blob(const_cast<T*>(data), {static_cast<int64_t>(count)}, type).clone();
}

/// The values of a state's one-dimensional tensor.
template <class T>
std::vector<T> values_of(const io::State& state, const char* name, at::ScalarType type) {
  const auto values = state.tensor(name, {-1}, type).contiguous();
  const T* begin = static_cast<const T*>(values.const_data_ptr());
  return {begin, begin + values.numel()};
}

at::Tensor to_cpu_float(const at::Tensor& logits) {
  return logits.to(at::kCPU, at::kFloat).contiguous();
}

LanguageModel::Stream restore_stream(const LoadedModel& loaded, const io::State& state) {
  state.check_owner("text", loaded.hash);
  if (const auto& is = state.value(kTokenizer); is != loaded.tokenizer.hash())
    throw Error(Exit::data, state.name, ": a state of another tokenizer: it was made with ",
                brief(is), ", this one is ", brief(loaded.tokenizer.hash()));
  const auto compute = loaded.model.compute_dtype();
  if (state.value(kDtype) != ops::dtype_name(compute))
    throw Error(Exit::data, state.name, ": computed in ", state.value(kDtype), ", cannot go on in ",
                ops::dtype_name(compute), "; see --dtype");
  return loaded.model.restore(state);
}

spm::Tokenizer::Stream restore_decoder(const LoadedModel& loaded, const io::State& state) {
  const auto& at_start = state.value(kAtStart);
  if (at_start != "0" && at_start != "1")
    throw Error(Exit::data, state.name, ": ", kAtStart, ": expected 0 or 1, found ", at_start);
  std::string pending;
  if (state.tensors.count(kPending) > 0) {
    const auto bytes = values_of<uint8_t>(state, kPending, at::kByte);
    pending.assign(bytes.begin(), bytes.end());
  }
  return spm::Tokenizer::Stream(loaded.tokenizer, pending, at_start == "1");
}

}  // namespace

// --- loading -------------------------------------------------------------------------------------

std::optional<int32_t> LoadedModel::bos() const {
  if (const auto id = tokenizer.bos()) return *id;
  const auto id = model.config().bos_token_id;
  if (id && *id >= 0 && *id < tokenizer.vocab_size()) return static_cast<int32_t>(*id);
  return {};
}

bool LoadedModel::ends_text(int32_t id) const {
  return std::find(ends.begin(), ends.end(), id) != ends.end();
}

namespace {

std::vector<int32_t> find_ends(const LoadedModel& loaded, const io::Checkpoint& checkpoint) {
  std::set<int64_t> ends;
  const auto& config = loaded.model.config();
  const auto& tokenizer = loaded.tokenizer;
  const auto known = [&](int64_t id) { return id >= 0 && id < tokenizer.vocab_size(); };
  if (const auto eos = tokenizer.eos()) ends.insert(*eos);
  // A configuration of another tokenizer may call a word so: one id counts where the tokenizer has
  // none, or says the same; a list is meant.
  if (const auto id = config.eos_token_id; id && known(*id))
    if (!tokenizer.eos() || tokenizer.control(static_cast<int>(*id))) ends.insert(*id);
  ends.insert(config.eos_token_ids.begin(), config.eos_token_ids.end());
  for (const int64_t id : generation_ends(checkpoint)) ends.insert(id);
  std::vector<int32_t> list;
  for (const int64_t id : ends)
    if (known(id)) list.push_back(static_cast<int32_t>(id));
  return list;
}

}  // namespace

LoadedModel load_model(const LoadOptions& options) {
  const auto checkpoint = io::Checkpoint::open(options.location);
  auto file = options.tokenizer;
  if (file.empty()) file = checkpoint.side_file("tokenizer.model");
  if (file.empty())
    throw Error(Exit::no_input, checkpoint.folder().string(),
                ": has no tokenizer.model; give one with --tokenizer");
  auto tokenizer = spm::Tokenizer::open(file);
  LoadedModel loaded{LanguageModel::load(checkpoint, options.device, options.dtype),
                     std::move(tokenizer),
                     checkpoint.folder().string(),
                     options.hash ? checkpoint.hash() : "",
                     {}};
  loaded.ends = find_ends(loaded, checkpoint);
  const int64_t rows = loaded.model.config().vocab_size;
  if (loaded.tokenizer.vocab_size() > rows)
    throw Error(Exit::data, file.string(), ": has ", loaded.tokenizer.vocab_size(),
                " pieces, the model in ", loaded.where, " only ", rows);
  return loaded;
}

// --- session -------------------------------------------------------------------------------------

Session::Session(const LoadedModel& loaded, const SamplerOptions& sampler, uint64_t seed)
    : loaded_(&loaded),
      stream_(loaded.model.start(1)),
      decoder_(loaded.tokenizer),
      sampler_(sampler, loaded.tokenizer.vocab_size(), seed),
      before_(seed) {}

Session::Session(const LoadedModel& loaded, const SamplerOptions& sampler, const io::State& state,
                 std::optional<uint64_t> seed)
    : loaded_(&loaded),
      stream_(restore_stream(loaded, state)),
      decoder_(restore_decoder(loaded, state)),
      sampler_(sampler, loaded.tokenizer.vocab_size(), 0),
      before_(0) {
  restore_sampler(state, seed);
}

void Session::restore_sampler(const io::State& state, std::optional<uint64_t> seed) {
  const auto& text = state.value(kRandom);
  uint64_t random = 0;
  const auto parsed = std::from_chars(text.data(), text.data() + text.size(), random);
  if (parsed.ec != std::errc() || parsed.ptr != text.data() + text.size())
    throw Error(Exit::data, state.name, ": ", kRandom, ": expected a number, found ", text);
  sampler_.random() = Random(seed.value_or(random));
  before_ = sampler_.random();
  const auto recent = values_of<int32_t>(state, kRecent, at::kInt);
  const auto ever = values_of<uint8_t>(state, kEver, at::kByte);
  try {
    sampler_.history().restore(recent, ever);
  } catch (const Error& error) {
    throw Error(error.code(), state.name, ": ", error.what());
  }
  if (tokens() == 0) return;
  logits_ = state.tensor(kLogits, {loaded_->model.config().vocab_size}, at::kFloat).contiguous();
}

at::Tensor Session::ids_tensor(const std::vector<int32_t>& ids) const {
  const auto device = loaded_->model.parameters().front().second.device();
  const auto x = to_tensor(ids.data(), ids.size(), at::kInt);
  return x.to(device, at::kLong).unsqueeze(0);  // [1, T]
}

void Session::accept(const std::vector<int32_t>& ids, const at::Tensor& last_logits) {
  logits_ = to_cpu_float(last_logits);
  const auto& tokenizer = loaded_->tokenizer;
  for (const int32_t id : ids) {
    // Of ids beyond the tokenizer's (packed data may hold some) nothing is drawn or said.
    if (id >= tokenizer.vocab_size()) continue;
    sampler_.accept(id);
    const bool says = !tokenizer.control(id) || id == tokenizer.unknown();
    if (says && decoder_.at_start())
      decoder_ = spm::Tokenizer::Stream(tokenizer, decoder_.pending(), /*at_start=*/false);
  }
}

void Session::read(const std::vector<int32_t>& ids) {
  const c10::InferenceMode no_graph;  // a quarter of a small model's time
  const auto logits = loaded_->model.feed(stream_, ids_tensor(ids));
  accept(ids, logits[0][0]);
}

void Session::read_together(const std::vector<Session*>& sessions,
                            const std::vector<int32_t>& ids) {
  if (sessions.size() == 1) return sessions[0]->read(ids);
  const c10::InferenceMode no_graph;
  std::vector<LanguageModel::Stream*> streams;
  for (auto* session : sessions) streams.push_back(&session->stream_);
  const auto& first = *sessions.at(0);
  const auto column = first.ids_tensor(ids).transpose(0, 1);  // [B, 1]
  const auto logits = to_cpu_float(first.loaded_->model.feed(streams, column).select(1, 0));
  for (size_t i = 0; i < sessions.size(); ++i)
    sessions[i]->accept({ids[i]}, logits[static_cast<int64_t>(i)]);
}

std::vector<std::optional<TokenScore>> Session::score(const std::vector<int32_t>& ids) {
  const c10::InferenceMode no_graph;
  const auto count = static_cast<int64_t>(ids.size());
  const auto x = ids_tensor(ids);
  const auto logits = loaded_->model.feed(stream_, x, /*all=*/true)[0];  // [T, vocab_size]
  std::vector<std::optional<TokenScore>> scores(ids.size());
  // Row i predicts token first + i.
  const int64_t first = ready() ? 0 : 1;
  auto rows = logits.slice(0, 0, count - 1);
  if (ready())
    rows = at::cat({logits_.to(logits.device(), logits.scalar_type()).unsqueeze(0), rows});
  if (rows.size(0) > 0) {
    const auto all = at::log_softmax(rows.to(at::kFloat), -1);
    const auto wanted = x[0].slice(0, first).unsqueeze(1);
    const auto came = all.gather(1, wanted).squeeze(1).cpu();
    const auto best = std::get<0>(all.max(1)).cpu();
    for (int64_t i = 0; i < came.size(0); ++i) {
      const float p = came.const_data_ptr<float>()[i];
      scores[static_cast<size_t>(first + i)] = TokenScore{p, p >= best.const_data_ptr<float>()[i]};
    }
  }
  accept(ids, logits[count - 1]);
  return scores;
}

std::vector<double> Session::logprobs() const {
  const auto all = at::log_softmax(logits_.to(at::kDouble), -1).contiguous();
  const auto* data = all.const_data_ptr<double>();
  return {data, data + all.numel()};
}

int32_t Session::choose() {
  before_ = sampler_.random();
  return sampler_.next(logits_.const_data_ptr<float>());
}

void Session::unchoose() {
  sampler_.random() = before_;
}

io::State Session::save() const {
  if (loaded_->hash.empty()) throw Error(Exit::internal, "a state needs the model's hash");
  io::State state;
  loaded_->model.save(stream_, state);
  state.set_owner("text", loaded_->hash);
  state.metadata[kTokenizer] = loaded_->tokenizer.hash();
  state.metadata[kDtype] = ops::dtype_name(loaded_->model.compute_dtype());
  state.metadata[kRandom] = std::to_string(sampler_.random().state());
  state.metadata[kAtStart] = decoder_.at_start() ? "1" : "0";
  if (!decoder_.pending().empty())
    state.tensors[kPending] =
        to_tensor(decoder_.pending().data(), decoder_.pending().size(), at::kByte);
  const auto recent = sampler_.history().recent();
  const auto& ever = sampler_.history().ever();
  state.tensors[kRecent] = to_tensor(recent.data(), recent.size(), at::kInt);
  state.tensors[kEver] = to_tensor(ever.data(), ever.size(), at::kByte);
  if (ready()) state.tensors[kLogits] = logits_;
  return state;
}

}  // namespace lact::text
