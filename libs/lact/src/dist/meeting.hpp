#pragma once
// Sockets of the store where the processes of a run meet.

#include <lact/dist/place.hpp>

#include <chrono>
#include <string>

namespace lact::dist {

/// A socket that listens at the place's host and port, and at no other address of this machine.
/// Errors   78 if the host is not there or not this machine, 75 if the port is taken
int listen_at(const Place& place);

/// Until somebody listens there. Errors   78 if the host is not there, 75 if nobody comes in time
void wait_for_listener(const Place& place, std::chrono::milliseconds timeout);

/// Errors   69 if this machine has no network interface of this name, or it has no address
void require_interface(const std::string& name);

}  // namespace lact::dist
