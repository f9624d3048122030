#pragma once
// The parameters of a model, or of a part of one, by their published names.

#include <lact/dist/sharded.hpp>
#include <lact/io/checkpoint.hpp>

#include <ATen/core/Generator.h>
#include <ATen/core/Tensor.h>

#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <utility>
#include <vector>

namespace lact::nn {

using Shape = std::vector<int64_t>;
/// Names and shapes, in the order in which parameters are drawn, trained and written.
using Shapes = std::vector<std::pair<std::string, Shape>>;

/// Numbers in all of them.
int64_t count(const Shapes& shapes);
/// Numbers in those of each block: PREFIX0.NAME, PREFIX1.NAME, ...
std::vector<int64_t> counts_by(const Shapes& shapes, const std::string& prefix);

/// Copies share the tensors.
class Parameters {
 public:
  Parameters() = default;
  explicit Parameters(io::NamedTensors tensors);
  /// `value`: the tensor of that name and shape.
  Parameters(const Shapes& shapes,
             const std::function<at::Tensor(const std::string&, const Shape&)>& value);

  /// Errors   70 if there is none of that name
  const at::Tensor& operator()(const std::string& name) const;
  /// Undefined if there is none of that name.
  at::Tensor find(const std::string& name) const;
  /// Those whose names begin with the prefix, by the rest of their names.
  Parameters under(const std::string& prefix) const;
  /// In the order of the shapes that they were made from.
  const io::NamedTensors& all() const { return tensors_; }
  /// Another tensor under a name that is there.
  void replace(const std::string& name, const at::Tensor& tensor);

 private:
  io::NamedTensors tensors_;
  std::map<std::string, size_t> places_;
};

/// Cuts the parameters of each block, which are used together, into parts of the processes: in
/// `parameters` each is replaced by this process's part. `prefix`: of the names of a block.
dist::Shards shard(Parameters& parameters, size_t blocks,
                   const std::function<std::string(size_t)>& prefix, const dist::Group& group);

/// A tensor's first value, float32 on the CPU.
using InitialValue =
    std::function<at::Tensor(const std::string& name, const Shape&, const at::Generator&)>;
/// Drawn on the CPU whatever the device, so that a seed means the same model everywhere.
Parameters fresh(const Shapes& shapes, uint64_t seed, at::Device device, const InitialValue& value);

/// The tensor of that name and shape, as Checkpoint::tensor gives it. `stored`: what the file calls
/// it, if it has a name of its own.
/// Errors   65 naming folder, tensor, what was expected and found: missing, another shape, or not
///          of a floating dtype
at::Tensor parameter(const io::Checkpoint& checkpoint, const std::string& name, const Shape& shape,
                     const std::string& stored = {});

/// What a checkpoint calls a parameter; by default the same.
using StoredName = std::function<std::string(const std::string&)>;
/// Copies on the device. Matrices that only ever enter products (`only_multiplied`) have the type
/// of the products; everything else float32, or float64 if products do. Errors: as parameter()
Parameters load(const Shapes& shapes, const io::Checkpoint& checkpoint, at::Device device,
                at::ScalarType products,
                const std::function<bool(const std::string&, const Shape&)>& only_multiplied,
                const StoredName& stored = {});
/// Copies a checkpoint's values into the parameters. Errors: as parameter()
void assign(const Parameters& parameters, const io::Checkpoint& checkpoint,
            const StoredName& stored = {});

}  // namespace lact::nn
