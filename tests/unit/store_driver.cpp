// A process with one store, told on its standard input what to do: one JSON object per line, and
// one per line in answer. For tests that need several such processes, stop them or kill them.
//
//   {"do": "open", "url": …, "password": …}           {"do": "load"}
//   {"do": "create", "name": …, "host": …}            {"do": "alter", "before": {…}, "host": …}
//   {"do": "drop", "before": {…}, "at": us}           {"do": "append", "events": [{…}]}
//   {"do": "leader"}  {"do": "wait", "ms": …}  {"do": "truncate", "keep": …}
//   {"do": "storm", "before": {…}}                    alters on and on, one answer for each
//
// Answers   "ms" is how long it took; "error" is "store" or "concurrent", with its "text"
#include "catalog/option_json.hpp"
#include "catalog/store.hpp"

#include <boost/json.hpp>

#include <chrono>
#include <iostream>
#include <memory>
#include <string>

namespace {

namespace json = boost::json;
namespace catalog = signalbox::catalog;

std::string text_of(const json::object& from, std::string_view key) {
    const json::value* value = from.if_contains(key);
    return value != nullptr && value->is_string()
               ? std::string{std::string_view{value->get_string()}}
               : std::string{};
}

template <typename Integer>
Integer number_of(const json::object& from, std::string_view key) {
    return from.at(key).to_number<Integer>();
}

json::object describe(const catalog::stored_connection& connection) {
    return {
        {"id", connection.id},
        {"name", connection.name},
        {"generation", connection.generation},
        {"overrides", json::parse(catalog::serialize_overrides(connection.overrides))}};
}

catalog::stored_connection connection_from(const json::object& from) {
    return {
        .id = text_of(from, "id"),
        .name = text_of(from, "name"),
        .owner = {},
        .overrides = catalog::parse_overrides(json::serialize(from.at("overrides"))),
        .generation = number_of<std::uint64_t>(from, "generation")};
}

json::object describe(const catalog::stored_catalog& all) {
    json::array connections;
    for (const auto& connection : all.connections) {
        connections.push_back(describe(connection));
    }
    json::array history;
    for (const auto& event : all.history) {
        history.push_back(json::object{
            {"id", event.connection_id},
            {"status", event.status},
            {"error", event.error ? json::value{json::string{*event.error}} : json::value{}},
            {"at", event.occurred_at.time_since_epoch().count()}});
    }
    return {{"connections", connections}, {"history", history}, {"version", all.version}};
}

std::vector<catalog::status_event> events_from(const json::array& from) {
    std::vector<catalog::status_event> events;
    for (const json::value& value : from) {
        const json::object& event = value.as_object();
        std::optional<std::string> error;
        if (event.contains("error")) {
            error = text_of(event, "error");
        }
        events.push_back(
            {.connection_id = text_of(event, "id"),
             .status = text_of(event, "status"),
             .error = error,
             .occurred_at = catalog::timestamp{std::chrono::microseconds{
                 number_of<std::int64_t>(event, "at")}}}
        );
    }
    return events;
}

class driver {
public:
    json::object run(const json::object& request) {
        const std::string what = text_of(request, "do");
        if (what == "open") {
            store_.reset();
            catalog::store_settings settings;
            settings.url = text_of(request, "url");
            if (request.contains("password")) {
                settings.password = text_of(request, "password");
            }
            store_ = catalog::open_store(settings);
            return {};
        }
        if (what == "load") {
            return describe(store_->load());
        }
        if (what == "create") {
            catalog::stored_connection after;
            after.name = text_of(request, "name");
            set_host(after, request);
            return describe(store_->commit({{.before = {}, .after = after}}, {}).at(0));
        }
        if (what == "alter") {
            const auto before = connection_from(request.at("before").as_object());
            auto after = before;
            set_host(after, request);
            return describe(store_->commit({{.before = before, .after = after}}, {}).at(0));
        }
        if (what == "drop") {
            const auto before = connection_from(request.at("before").as_object());
            const std::chrono::microseconds at{number_of<std::int64_t>(request, "at")};
            store_->commit(
                {{.before = before, .after = {}}},
                {{.connection_id = before.id,
                  .status = "deleted",
                  .error = {},
                  .occurred_at = catalog::timestamp{at}}}
            );
            return {};
        }
        if (what == "append") {
            store_->append(events_from(request.at("events").as_array()));
            return {};
        }
        if (what == "leader") {
            return {{"leads", store_->is_leader()}};
        }
        if (what == "wait") {
            const std::chrono::milliseconds time{number_of<std::int64_t>(request, "ms")};
            return {{"changed", store_->wait_for_change(time)}};
        }
        if (what == "truncate") {
            store_->truncate_history(number_of<std::size_t>(request, "keep"));
            return {};
        }
        if (what == "storm") {
            storm(connection_from(request.at("before").as_object()));
        }
        return {{"error", "usage"}, {"text", what}};
    }

private:
    static void set_host(catalog::stored_connection& connection, const json::object& request) {
        connection.overrides["HOST"] = catalog::option_value{text_of(request, "host")};
    }

    [[noreturn]] void storm(catalog::stored_connection connection) {
        while (true) {
            auto after = connection;
            const std::string host(1 + connection.generation % 3'000, 'h');
            after.overrides["HOST"] = catalog::option_value{host};
            connection = store_->commit({{.before = connection, .after = after}}, {}).at(0);
            std::cout << connection.generation << std::endl;
        }
    }

    std::unique_ptr<catalog::store> store_;
};

json::object answer(driver& with, const std::string& line) {
    try {
        return with.run(json::parse(line).as_object());
    } catch (const catalog::concurrent_change& error) {
        return {{"error", "concurrent"}, {"text", error.what()}};
    } catch (const catalog::store_error& error) {
        return {{"error", "store"}, {"text", error.what()}};
    }
}

}  // namespace

int main() {
    driver with;
    for (std::string line; std::getline(std::cin, line);) {
        const auto begin = std::chrono::steady_clock::now();
        json::object reply = answer(with, line);
        const auto took = std::chrono::steady_clock::now() - begin;
        reply["ms"] = std::chrono::duration_cast<std::chrono::milliseconds>(took).count();
        std::cout << json::serialize(reply) << std::endl;
    }
    return 0;
}
