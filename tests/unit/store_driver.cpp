// A process with one store, told on its standard input what to do: one JSON object per line, and
// one per line in answer. For tests that need several such processes, stop them or kill them.
//
//   {"do": "open", "url": …, "password": …}           {"do": "load"}
//   {"do": "create", "name": …, "host": …}            {"do": "alter", "before": {…}, "host": …}
//   {"do": "drop", "before": {…}, "at": us}           {"do": "append", "events": [{…}]}
//   {"do": "leader"}  {"do": "wait", "ms": …}  {"do": "truncate", "keep": …}
//   {"do": "storm", "before": {…}}                    alters on and on, one answer for each
//   {"do": "put_notices", "put": [fingerprint, …], "remove": […], "text": …, "seen": version}
//   {"do": "load_notices", "since": version}          the store's own; without "since", whole
//   {"do": "found", "oid": …, "name": …, "count": …}  by a catalog of notices
//   {"do": "removed", "oid": …}  {"do": "set_status", "fingerprint": …, "status": …}
//   {"do": "notices"}                                 what the catalog knows
//
// Answers   "ms" is how long it took; "error" is "store" or "concurrent", with its "text"
#include "catalog/notices.hpp"
#include "catalog/option_json.hpp"
#include "catalog/store.hpp"

#include <boost/json.hpp>

#include <array>
#include <chrono>
#include <cstdio>
#include <functional>
#include <iostream>
#include <memory>
#include <optional>
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

json::object describe(const catalog::stored_notices& all) {
    const auto strings = [](const auto& list, const auto& text) {
        json::array out;
        for (const auto& each : list) {
            out.emplace_back(text(each));
        }
        return out;
    };
    return {
        {"whole", all.is_whole},
        {"notices", strings(all.changes.notices, [](const auto& n) { return n.fingerprint; })},
        {"texts", strings(all.changes.notices, [](const auto& n) { return n.message; })},
        {"removed", strings(all.changes.removed_notices, [](const auto& key) { return key; })},
        {"version", all.version}};
}

json::object describe(const catalog::notice_snapshot& all) {
    json::array notices;
    for (const auto& [fingerprint, notice] : all.notices) {
        notices.push_back(json::object{
            {"fingerprint", fingerprint},
            {"message", notice->message},
            {"redacted", notice->redacted_message ? *notice->redacted_message : "NULL"},
            {"oid", all.find_object(notice->object_id)->oid},
            {"object_id", notice->object_id},
            {"status", all.status_of(*notice)}});
    }
    return {{"notices", notices}, {"version", all.version}, {"ignored", all.ignored.size()}};
}

/// `count` findings about one view; the fingerprints depend on its name.
catalog::examination examination_from(const json::object& from) {
    catalog::examination out{
        .connection_id = "u1",
        .database = "app",
        .oids = std::vector{number_of<std::uint32_t>(from, "oid")},
        .findings = {},
        .objects = {},
        .is_rename = false};
    const std::string name = text_of(from, "name");
    for (int i = 0; i < number_of<int>(from, "count"); ++i) {
        catalog::found_notice made;
        made.type = "Comparison with NULL";
        made.message = "\u2588 " + name + ": " + std::to_string(i);
        if (i % 2 == 0) {
            made.redacted_message = "\u2588";
        }
        made.object = {
            .oid = number_of<std::uint32_t>(from, "oid"),
            .schema = "public",
            .name = name,
            .type = "view",
            .owner = "app"};
        std::array<char, 40> fingerprint{};
        std::snprintf(
            fingerprint.data(),
            fingerprint.size(),
            "%08x-0000-4000-8000-%012x",
            static_cast<unsigned>(std::hash<std::string>{}(name)),
            static_cast<unsigned>(i)
        );
        made.fingerprint = fingerprint.data();
        out.findings.push_back(std::move(made));
    }
    return out;
}

class driver {
public:
    json::object run(const json::object& request) {
        const std::string what = text_of(request, "do");
        if (what == "open") {
            known_.reset();
            store_.reset();
            catalog::store_settings settings;
            settings.url = text_of(request, "url");
            if (request.contains("password")) {
                settings.password = text_of(request, "password");
            }
            store_ = catalog::open_store(settings);
            known_ = std::make_unique<catalog::notice_catalog>(*store_, std::chrono::hours{1});
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
            const bool is_changed = store_->wait_for_change(time);
            return {
                {"changed", is_changed},
                {"connections", store_->news().connections},
                {"notices", store_->news().notices},
                {"notified", store_->news().is_notified}};
        }
        if (what == "truncate") {
            store_->truncate_history(number_of<std::size_t>(request, "keep"));
            return {};
        }
        if (what == "storm") {
            storm(connection_from(request.at("before").as_object()));
        }
        if (what == "put_notices") {
            return {{"version", put_notices(request)}};
        }
        if (what == "load_notices") {
            return describe(store_->load_notices(
                request.contains("since")
                    ? std::optional{number_of<std::uint64_t>(request, "since")}
                    : std::nullopt
            ));
        }
        return run_catalog(what, request);
    }

private:
    std::uint64_t put_notices(const json::object& request) {
        catalog::notice_changes changes;
        for (const json::value& fingerprint : request.at("put").as_array()) {
            catalog::stored_notice made;
            made.fingerprint = std::string_view{fingerprint.as_string()};
            made.message = text_of(request, "text");
            changes.notices.push_back(std::move(made));
        }
        for (const json::value& fingerprint : request.at("remove").as_array()) {
            changes.removed_notices.emplace_back(std::string_view{fingerprint.as_string()});
        }
        return store_->commit_notices(changes, number_of<std::uint64_t>(request, "seen"));
    }

    json::object run_catalog(const std::string& what, const json::object& request) {
        if (what == "found") {
            known_->found(examination_from(request));
        } else if (what == "removed") {
            known_->removed("u1", "app", {number_of<std::uint32_t>(request, "oid")});
        } else if (what == "set_status") {
            known_->execute(
                {.fingerprint = text_of(request, "fingerprint"),
                 .status = text_of(request, "status")},
                {.user = "boss", .is_superuser = true}
            );
        } else if (what == "notices") {
            known_->reload();
            return describe(*known_->snapshot());
        } else {
            return {{"error", "usage"}, {"text", what}};
        }
        return {};
    }

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
    std::unique_ptr<catalog::notice_catalog> known_;
};

json::object answer(driver& with, const std::string& line) {
    try {
        return with.run(json::parse(line).as_object());
    } catch (const catalog::concurrent_change& error) {
        return {{"error", "concurrent"}, {"text", error.what()}};
    } catch (const catalog::store_error& error) {
        return {{"error", "store"}, {"text", error.what()}};
    } catch (const catalog::rejection& error) {
        return {{"error", error.report().sqlstate}, {"text", error.what()}};
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
