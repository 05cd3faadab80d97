// Listening sockets that the service manager has opened (systemd's socket activation): they are
// there from descriptor 3 on, and the environment says how many (LISTEN_FDS) and for which process
// (LISTEN_PID).
//
// Source    sd_listen_fds(3)
#pragma once

#include "proxy/listener.hpp"

#include <vector>

namespace signalbox::proxy {

/// The sockets that were passed to this process, ready for listeners: each is checked to be a
/// listening stream socket, TCP or Unix-domain, is made non-blocking, and is not inherited by
/// children. None: empty. Before any thread exists, since it takes what it has read out of the
/// environment. Errors: one result with `error`.
std::vector<listen_result> take_passed_sockets();

}  // namespace signalbox::proxy
