// `signalbox serve`: from the configuration to the exit status, and the signals in between.
#pragma once

#include <filesystem>

namespace signalbox::proxy {

/// Exit statuses of all commands.
inline constexpr int exit_success = 0;
inline constexpr int exit_fault = 1;
inline constexpr int exit_usage = 2;  // the command line or the configuration

/// Runs until SIGTERM (drains first) or SIGINT. SIGHUP reads the configuration again; where that
/// fails, the old one stays. Tells systemd over NOTIFY_SOCKET when it is ready, reloading and
/// stopping.
int serve(const std::filesystem::path& config_file);

/// Reads the configuration and everything it names, and says what is wrong with it.
int check(const std::filesystem::path& config_file);

}  // namespace signalbox::proxy
