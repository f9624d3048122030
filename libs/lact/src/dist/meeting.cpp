#include "meeting.hpp"

#include <lact/dist/group.hpp>
#include <lact/error.hpp>
#include <lact/io/files.hpp>

#include "../io/descriptor.hpp"

#include <ifaddrs.h>
#include <netdb.h>
#include <sys/socket.h>

#include <cerrno>
#include <memory>
#include <set>
#include <thread>

namespace lact::dist {
namespace {

using Clock = std::chrono::steady_clock;

constexpr int kQueue = 4096;  // all processes of a large run may come at once
constexpr std::chrono::milliseconds kRetry{100};

struct FreeAddresses {
  void operator()(addrinfo* found) const { ::freeaddrinfo(found); }
};
using Addresses = std::unique_ptr<addrinfo, FreeAddresses>;

Addresses resolve(const Place& place) {
  addrinfo hints{}, *found = nullptr;
  hints.ai_family = AF_UNSPEC;
  hints.ai_socktype = SOCK_STREAM;
  const auto port = std::to_string(place.port);
  const int error = ::getaddrinfo(place.host.c_str(), port.c_str(), &hints, &found);
  if (error != 0)
    throw Error(Exit::config, "environment: MASTER_ADDR: ", place.host, ": ",
                ::gai_strerror(error));
  return Addresses(found);
}

io::Descriptor open_socket(const addrinfo& address) {
  return io::Descriptor(
      ::socket(address.ai_family, SOCK_STREAM | SOCK_CLOEXEC, address.ai_protocol));
}

}  // namespace

int listen_at(const Place& place) {
  const auto address = resolve(place);
  auto socket = open_socket(*address);
  const int on = 1;
  ::setsockopt(socket.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  if (socket && ::bind(socket.get(), address->ai_addr, address->ai_addrlen) == 0 &&
      ::listen(socket.get(), kQueue) == 0)
    return socket.release();
  const int why = errno;
  if (why == EADDRNOTAVAIL)
    throw Error(Exit::config, "environment: MASTER_ADDR: ", place.host,
                ": not an address of this machine, where rank 0 runs");
  throw Error(Exit::stopped, place.host, ":", place.port, ": cannot listen: ", io::reason(why),
              why == EADDRINUSE ? ": choose another MASTER_PORT" : "");
}

void wait_for_listener(const Place& place, std::chrono::milliseconds timeout) {
  const auto deadline = Clock::now() + timeout;
  for (;;) {
    const auto addresses = resolve(place);
    for (const auto* one = addresses.get(); one != nullptr; one = one->ai_next) {
      const auto socket = open_socket(*one);
      if (socket && ::connect(socket.get(), one->ai_addr, one->ai_addrlen) == 0) return;
    }
    if (Clock::now() >= deadline)
      throw PeerLost(concat("rank 0 did not come to ", place.host, ":", place.port, " within ",
                            timeout.count() / 1000, " s"));
    std::this_thread::sleep_for(kRetry);
  }
}

void require_interface(const std::string& name) {
  ifaddrs* all = nullptr;
  if (::getifaddrs(&all) != 0)
    throw Error(Exit::unavailable, "--comm-interface ", name, ": ", io::reason(errno));
  const std::unique_ptr<ifaddrs, decltype(&::freeifaddrs)> freed(all, ::freeifaddrs);
  std::set<std::string> names;
  for (const auto* one = all; one != nullptr; one = one->ifa_next)
    if (one->ifa_addr != nullptr &&
        (one->ifa_addr->sa_family == AF_INET || one->ifa_addr->sa_family == AF_INET6))
      names.insert(one->ifa_name);
  if (names.count(name) > 0) return;
  std::string there;
  for (const auto& known : names) there += (there.empty() ? "" : ", ") + known;
  throw Error(Exit::unavailable, "--comm-interface ", io::printable(name),
              ": no network interface with an address here: ", there);
}

}  // namespace lact::dist
