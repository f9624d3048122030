#pragma once
// What tests of runs look at: a free port, and the bytes of a checkpoint.

#include "support/test.hpp"

#include <lact/io/files.hpp>

#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <filesystem>
#include <map>
#include <string>

namespace lact::test {

/// A socket that is bound to a port of this machine which nobody has. Returns it and the port.
inline std::pair<int, std::string> bound_socket() {
  const int socket = ::socket(AF_INET, SOCK_STREAM, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof address;
  REQUIRE(::bind(socket, reinterpret_cast<sockaddr*>(&address), size) == 0);
  REQUIRE(::getsockname(socket, reinterpret_cast<sockaddr*>(&address), &size) == 0);
  return {socket, std::to_string(ntohs(address.sin_port))};
}

/// A port that was free a moment ago.
inline std::string free_port() {
  const auto [socket, port] = bound_socket();
  ::close(socket);
  return port;
}

/// Every file of a folder, those in its folders too, with the hash of its bytes.
inline std::map<std::string, std::string> hashes(const std::filesystem::path& folder) {
  std::map<std::string, std::string> files;
  for (const auto& item : std::filesystem::recursive_directory_iterator(folder)) {
    if (item.is_directory()) continue;
    const auto text = io::read_text(item.path());
    files[item.path().lexically_relative(folder)] = io::xxh3(text.data(), text.size());
  }
  return files;
}

}  // namespace lact::test
