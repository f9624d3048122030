#include "support/test.hpp"

#include <lact/dist/place.hpp>
#include <lact/error.hpp>

#include <map>
#include <random>
#include <string>

using namespace lact;

namespace {

using Values = std::map<std::string, std::string>;

dist::Place place(const Values& values) {
  return dist::place([&](const char* name) -> const char* {
    const auto found = values.find(name);
    return found == values.end() ? nullptr : found->second.c_str();
  });
}

/// The words of the refusal, which is always 78.
std::string refusal(const Values& values) {
  try {
    place(values);
  } catch (const Error& error) {
    CHECK(error.code() == Exit::config);
    return error.what();
  }
  return "";
}

const Values kTorchrun = {{"RANK", "5"},
                          {"WORLD_SIZE", "8"},
                          {"LOCAL_RANK", "1"},
                          {"LOCAL_WORLD_SIZE", "4"},
                          {"MASTER_ADDR", "node7"},
                          {"MASTER_PORT", "29400"},
                          {"TORCHELASTIC_RUN_ID", "tuesday"},
                          {"TORCHELASTIC_RESTART_COUNT", "2"},
                          {"TORCHELASTIC_USE_AGENT_STORE", "True"}};
const Values kSlurm = {{"SLURM_PROCID", "9"},
                       {"SLURM_STEP_NUM_TASKS", "11"},
                       {"SLURM_LOCALID", "1"},
                       {"SLURM_NODEID", "2"},
                       {"SLURM_STEP_TASKS_PER_NODE", "4(x2),3"},
                       {"SLURM_STEP_NODELIST", "gpu[07-08,11]"},
                       {"SLURM_JOB_ID", "123456"},
                       {"SLURM_STEP_ID", "1"},
                       {"SLURM_RESTART_COUNT", "1"}};

Values with(Values values, const std::string& name, const std::string& value) {
  values[name] = value;
  return values;
}
Values without(Values values, const std::string& name) {
  values.erase(name);
  return values;
}

}  // namespace

TEST_CASE("who was launched by nobody is one process") {
  for (const auto& values : {Values{}, Values{{"SLURM_JOB_ID", "7"}, {"SLURM_NTASKS", "4"}},
                             Values{{"MASTER_ADDR", "elsewhere"}}}) {
    const auto one = place(values);
    CHECK(one.world == 1);
    CHECK(one.rank == 0);
    CHECK(one.launcher.empty());
  }
}

TEST_CASE("torchrun, srun, mpirun and mpiexec each say where a process is") {
  const auto torchrun = place(kTorchrun);
  CHECK(torchrun.launcher == "torchrun");
  CHECK(std::pair(torchrun.rank, torchrun.world) == std::pair(5, 8));
  CHECK(std::pair(torchrun.local_rank, torchrun.local_world) == std::pair(1, 4));
  CHECK(std::pair(torchrun.host, torchrun.port) ==
        std::pair(std::string("node7"), uint16_t{29400}));
  CHECK(torchrun.their_store);
  CHECK(torchrun.attempt == "tuesday.2");

  const auto slurm = place(kSlurm);
  CHECK(slurm.launcher == "srun");
  CHECK(std::pair(slurm.rank, slurm.world) == std::pair(9, 11));
  CHECK(std::pair(slurm.local_rank, slurm.local_world) == std::pair(1, 3));
  CHECK(slurm.host == "gpu07");
  CHECK(slurm.port == 10000 + 123456 % 50000 + 1);
  CHECK_FALSE(slurm.their_store);
  CHECK(slurm.attempt == "123456.1.1");
  CHECK(place(with(kSlurm, "MASTER_ADDR", "10.0.0.1")).host == "10.0.0.1");

  const auto mpirun = place({{"OMPI_COMM_WORLD_RANK", "1"},
                             {"OMPI_COMM_WORLD_SIZE", "2"},
                             {"OMPI_COMM_WORLD_LOCAL_RANK", "1"},
                             {"OMPI_COMM_WORLD_LOCAL_SIZE", "2"}});
  CHECK(mpirun.launcher == "mpirun");
  CHECK(std::pair(mpirun.rank, mpirun.local_world) == std::pair(1, 2));
  CHECK(mpirun.host == "127.0.0.1");  // all on one machine

  const auto mpiexec = place({{"PMI_RANK", "3"},
                              {"PMI_SIZE", "4"},
                              {"MPI_LOCALRANKID", "0"},
                              {"MPI_LOCALNRANKS", "1"},
                              {"MASTER_ADDR", "a"}});
  CHECK(mpiexec.launcher == "mpiexec");
  CHECK(std::pair(mpiexec.rank, mpiexec.world) == std::pair(3, 4));
  // RANK and WORLD_SIZE, which somebody set on purpose, come before the rest.
  auto both = kTorchrun;
  both.insert(kSlurm.begin(), kSlurm.end());
  CHECK(place(both).launcher == "torchrun");
}

TEST_CASE("Slurm's lists are read as Slurm means them") {
  for (const auto& [list, host] :
       {std::pair{"n1", "n1"}, std::pair{"n1,n2", "n1"}, std::pair{"n[01-03,7],m2", "n01"},
        std::pair{"n[7,9-12]", "n7"}, std::pair{"rack[1-2]-node[3-4]", "rack1-node3"},
        std::pair{"a-b.c_d[5]", "a-b.c_d5"}}) {
    CAPTURE(list);
    CHECK(place(with(kSlurm, "SLURM_STEP_NODELIST", list)).host == host);
  }
  for (const auto& [list, node, tasks] :
       {std::tuple{"4", "0", 4}, std::tuple{"4(x2),3", "1", 4}, std::tuple{"2,4(x3)", "0", 2},
        std::tuple{"2,4(x3)", "3", 4}, std::tuple{"2(x1),3", "1", 3}}) {
    CAPTURE(list, node);
    auto values = with(with(kSlurm, "SLURM_STEP_TASKS_PER_NODE", list), "SLURM_NODEID", node);
    CHECK(place(with(values, "SLURM_LOCALID", "0")).local_world == tasks);
  }
}

TEST_CASE("a variable that is missing or broken is named in one line") {
  const std::tuple<Values, const char*> cases[] = {
      {without(kTorchrun, "RANK"), "RANK: missing, though WORLD_SIZE is set"},
      {without(kTorchrun, "WORLD_SIZE"), "WORLD_SIZE: missing, though RANK is set"},
      {with(kTorchrun, "RANK", "five"), "RANK: expected 0 to 1000000, found five"},
      {with(kTorchrun, "RANK", "-1"), "RANK: expected"},
      {with(kTorchrun, "RANK", "8"), "rank 8 of 8 processes"},
      {with(kTorchrun, "WORLD_SIZE", "0"), "rank 5 of 0 processes"},
      {with(kTorchrun, "WORLD_SIZE", "99999999999999999999"), "WORLD_SIZE: expected"},
      {with(kTorchrun, "LOCAL_RANK", "4"), "rank 4 of 4 on this machine"},
      {with(kTorchrun, "LOCAL_WORLD_SIZE", "9"), "of 9 on this machine, of 8"},
      {with(kTorchrun, "MASTER_PORT", "65536"), "MASTER_PORT: expected 0 to 65535"},
      {with(kTorchrun, "MASTER_PORT", "0"), "MASTER_PORT: expected 1 to 65535"},
      {with(kTorchrun, "MASTER_PORT", "http"), "MASTER_PORT"},
      {without(kTorchrun, "MASTER_ADDR"), "MASTER_ADDR: missing, and 8 processes"},
      {{{"OMPI_COMM_WORLD_RANK", "0"}, {"OMPI_COMM_WORLD_SIZE", "2"}}, "-x MASTER_ADDR=HOST"},
      {{{"OMPI_COMM_WORLD_RANK", "0"}}, "OMPI_COMM_WORLD_SIZE: missing"},
      {{{"PMI_RANK", "0"}}, "PMI_SIZE: missing"},
      {with(kSlurm, "SLURM_STEP_NODELIST", "n[1-2"), "SLURM_STEP_NODELIST: expected hosts"},
      {with(kSlurm, "SLURM_STEP_TASKS_PER_NODE", "4(x2"), "SLURM_STEP_TASKS_PER_NODE: expected"},
      {with(kSlurm, "SLURM_NODEID", "5"), "SLURM_STEP_TASKS_PER_NODE: expected"},
      {with(kSlurm, "SLURM_JOB_ID", "x"), "SLURM_JOB_ID: expected"},
      {with(kTorchrun, "RANK", "1\n2"), "found 1\\x0a2"}};
  for (const auto& [values, words] : cases) {
    const auto said = refusal(values);
    CAPTURE(words);
    CHECK_THAT(said, Catch::Contains(words));
    CHECK(said.find('\n') == std::string::npos);
  }
}

TEST_CASE("malformed lists of Slurm are refused or read, a thousand of each") {
  std::mt19937 random(20261201);
  for (const char* name : {"SLURM_STEP_NODELIST", "SLURM_STEP_TASKS_PER_NODE"}) {
    int refused = 0;
    for (int i = 0; i < 1000; ++i) {
      auto text = kSlurm.at(name);
      for (int change = 0; change <= static_cast<int>(random() % 3); ++change) {
        const char alphabet[] = "[](),-x0123456789gpu \t\n\xff";
        const char c = alphabet[random() % (sizeof alphabet - 1)];
        const auto at = random() % text.size();
        if (random() % 2 == 0)
          text[at] = c;
        else
          text.insert(at, 1, c);
      }
      const auto said = refusal(with(with(kSlurm, name, text), "SLURM_LOCALID", "0"));
      CAPTURE(text, said);
      if (said.empty()) continue;
      ++refused;
      CHECK(said.find('\n') == std::string::npos);
    }
    CHECK(refused > 200);
  }
}
