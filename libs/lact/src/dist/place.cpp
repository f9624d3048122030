#include <lact/dist/place.hpp>
#include <lact/error.hpp>
#include <lact/io/files.hpp>

#include <algorithm>
#include <charconv>
#include <optional>
#include <string_view>
#include <vector>

namespace lact::dist {
namespace {

constexpr int64_t kMostProcesses = 1'000'000;

class Variables {
 public:
  explicit Variables(const Environment& environment) : environment_(environment) {}

  bool has(const char* name) const { return !text(name).empty(); }
  std::string text(const char* name) const {
    const char* value = environment_(name);
    return value == nullptr ? "" : value;
  }
  std::optional<int64_t> number(const char* name, int64_t most) const {
    const auto value = text(name);
    if (value.empty()) return std::nullopt;
    int64_t number = 0;
    const char* end = value.data() + value.size();
    const auto result = std::from_chars(value.data(), end, number);
    if (result.ec != std::errc() || result.ptr != end || number < 0 || number > most)
      throw Error(Exit::config, "environment: ", name, ": expected 0 to ", most, ", found ",
                  io::printable(value));
    return number;
  }
  int must(const char* name, const char* because) const {
    const auto value = number(name, kMostProcesses);
    if (!value)
      throw Error(Exit::config, "environment: ", name, ": missing, though ", because, " is set");
    return static_cast<int>(*value);
  }
  int or_else(const char* name, int otherwise) const {
    return static_cast<int>(number(name, kMostProcesses).value_or(otherwise));
  }

 private:
  const Environment& environment_;
};

[[noreturn]] void malformed(const char* name, const std::string& value, const char* expected) {
  throw Error(Exit::config, "environment: ", name, ": expected ", expected, ", found ",
              io::printable(value));
}

/// The first of Slurm's list of hosts: "node[01-03,7]-ib,other" begins with node01-ib.
std::string first_host(const char* name, const std::string& list) {
  const auto refuse = [&] { malformed(name, list, "hosts as node[01-03,7]"); };
  std::string host;
  bool inside = false, skipping = false;
  for (const char c : list) {
    if (c == '[') {
      if (inside) refuse();
      inside = true;
      skipping = false;
    } else if (c == ']') {
      if (!inside) refuse();
      inside = false;
      skipping = false;
    } else if (inside && (c == '-' || c == ',')) {
      skipping = true;
    } else if (!inside && c == ',') {
      break;
    } else if (!skipping) {
      host += c;
    }
  }
  const auto known = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' ||
           c == '.' || c == '_' || c == ':';
  };
  if (inside || host.empty() || !std::all_of(host.begin(), host.end(), known)) refuse();
  return host;
}

/// How many tasks Slurm's "4(x2),3" gives node number `node`, from 0.
int tasks_of(const char* name, const std::string& list, int node) {
  const auto refuse = [&] { malformed(name, list, "tasks as 4(x2),3"); };
  std::string_view rest = list;
  const auto number = [&] {
    int value = 0;
    const auto result = std::from_chars(rest.data(), rest.data() + rest.size(), value);
    if (result.ec != std::errc() || value < 1) refuse();
    rest.remove_prefix(static_cast<size_t>(result.ptr - rest.data()));
    return value;
  };
  const auto take = [&](std::string_view word) {
    const bool there = rest.substr(0, word.size()) == word;
    if (there) rest.remove_prefix(word.size());
    return there;
  };
  for (int64_t first = 0;;) {
    const int tasks = number();
    int64_t nodes = 1;
    if (take("(x")) {
      nodes = number();
      if (!take(")")) refuse();
    }
    first += nodes;
    if (node < first) return tasks;
    if (!take(",")) refuse();
  }
}

/// A launcher's names for the four numbers.
struct Names {
  const char *launcher, *rank, *world, *local_rank, *local_world;
};
constexpr Names kPlain{"environment", "RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE"};
constexpr Names kOpenMpi{"mpirun", "OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE",
                         "OMPI_COMM_WORLD_LOCAL_RANK", "OMPI_COMM_WORLD_LOCAL_SIZE"};
constexpr Names kSlurm{"srun", "SLURM_PROCID", "SLURM_STEP_NUM_TASKS", "SLURM_LOCALID", ""};
constexpr Names kPmi{"mpiexec", "PMI_RANK", "PMI_SIZE", "MPI_LOCALRANKID", "MPI_LOCALNRANKS"};

void read(const Variables& variables, const Names& names, Place& place) {
  place.launcher = names.launcher;
  place.rank = variables.must(names.rank, names.world);
  place.world = variables.must(names.world, names.rank);
  place.local_rank = variables.or_else(names.local_rank, 0);
  place.local_world = variables.or_else(names.local_world, 1);
}

void from_slurm(const Variables& variables, Place& place) {
  const auto tasks = variables.text("SLURM_STEP_TASKS_PER_NODE");
  if (!tasks.empty())
    place.local_world =
        tasks_of("SLURM_STEP_TASKS_PER_NODE", tasks, variables.or_else("SLURM_NODEID", 0));
  const auto hosts = variables.text("SLURM_STEP_NODELIST");
  if (!hosts.empty()) place.host = first_host("SLURM_STEP_NODELIST", hosts);
  // Two jobs on one machine, and two steps of a job, meet at ports of their own.
  const auto job = variables.number("SLURM_JOB_ID", INT64_MAX).value_or(0),
             step = variables.number("SLURM_STEP_ID", INT64_MAX).value_or(0);
  place.port = static_cast<uint16_t>(10000 + (job % 50000 + step % 50000) % 50000);
  place.attempt = concat(job, ".", step, ".", variables.or_else("SLURM_RESTART_COUNT", 0));
}

void from_launcher(const Variables& variables, Place& place) {
  if (variables.has(kPlain.rank) || variables.has(kPlain.world)) {
    read(variables, kPlain, place);
    if (variables.has("TORCHELASTIC_RUN_ID")) place.launcher = "torchrun";
    place.attempt = concat(variables.text("TORCHELASTIC_RUN_ID"), ".",
                           variables.or_else("TORCHELASTIC_RESTART_COUNT", 0));
  } else if (variables.has(kOpenMpi.rank)) {
    read(variables, kOpenMpi, place);
  } else if (variables.has(kSlurm.rank) && variables.has(kSlurm.world)) {
    read(variables, kSlurm, place);
    from_slurm(variables, place);
  } else if (variables.has(kPmi.rank)) {
    read(variables, kPmi, place);
  }
}

}  // namespace

Place place(const Environment& environment) {
  const Variables variables(environment);
  Place place;
  from_launcher(variables, place);
  if (place.launcher.empty()) return place;
  if (place.world < 1 || place.rank >= place.world)
    throw Error(Exit::config, "environment: ", place.launcher, ": rank ", place.rank, " of ",
                place.world, " processes");
  if (place.local_world < 1 || place.local_rank >= place.local_world ||
      place.local_world > place.world)
    throw Error(Exit::config, "environment: ", place.launcher, ": rank ", place.local_rank, " of ",
                place.local_world, " on this machine, of ", place.world, " processes in all");
  if (variables.has("MASTER_ADDR"))
    place.host = variables.text("MASTER_ADDR");
  else if (place.world > place.local_world && place.launcher != "srun")
    throw Error(Exit::config, "environment: MASTER_ADDR: missing, and ", place.world,
                " processes are on several machines: name the machine of rank 0 to all of them",
                place.launcher == "mpirun" ? " (-x MASTER_ADDR=HOST)" : "");
  if (const auto port = variables.number("MASTER_PORT", 65535)) {
    if (*port == 0)
      throw Error(Exit::config, "environment: MASTER_PORT: expected 1 to 65535, found 0");
    place.port = static_cast<uint16_t>(*port);
  }
  place.their_store = variables.text("TORCHELASTIC_USE_AGENT_STORE") == "True";
  return place;
}

}  // namespace lact::dist
