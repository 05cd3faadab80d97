#include "proxy/config_reload.hpp"

namespace signalbox::proxy {

std::vector<std::string> keep_until_restart(configuration& next, const configuration& in_force) {
    std::vector<std::string> changed;
    const auto keep = [&changed](const char* name, auto& mine, const auto& theirs) {
        if (mine != theirs) {
            changed.emplace_back(name);
            mine = theirs;
        }
    };
    keep("listen.address", next.listen.addresses, in_force.listen.addresses);
    keep("listen.port", next.listen.port, in_force.listen.port);
    keep("listen.unix_socket_dir", next.listen.unix_socket_dir, in_force.listen.unix_socket_dir);
    keep("listen.tcp_keepalive", next.listen.tcp_keepalive, in_force.listen.tcp_keepalive);
    keep("listen.tcp_user_timeout", next.listen.tcp_user_timeout, in_force.listen.tcp_user_timeout);
    keep("listen.workers", next.listen.workers, in_force.listen.workers);

    auto& store = next.catalog;
    const auto& open_store = in_force.catalog;
    keep("catalog.url", store.url, open_store.url);
    keep("catalog.password", store.password, open_store.password);
    keep("catalog.ssl_mode", store.ssl_mode, open_store.ssl_mode);
    keep(
        "catalog.history_per_connection",
        store.history_per_connection,
        open_store.history_per_connection
    );
    keep("catalog.status_quota", store.status_quota, open_store.status_quota);
    keep("catalog.ignored_retention", store.ignored_retention, open_store.ignored_retention);
    keep("catalog.schemas.catalog", store.catalog_schema, open_store.catalog_schema);
    keep("catalog.schemas.internal", store.internal_schema, open_store.internal_schema);
    return changed;
}

}  // namespace signalbox::proxy
